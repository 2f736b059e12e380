"""The results of each contestant alone: right answers, cost, tokens, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.evaluation.results import Contestant, Evaluation, GivenAnswer
from service.evaluation.statistics.judge_biases import Share
from service.evaluation.statistics.percentiles import find_percentile


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the 95th percentile of times in milliseconds; None without any."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The results of one contestant.

    `right` counts the questions with a grade; undecided answers and failures are not right.
    `judged` is the number of its answers that a judge compares. Means are per question; costs are
    None unless those of all answers are known.
    """

    contestant: Contestant
    answered: int
    right: Share
    undecided: int
    failed: int
    judged: int
    mean_cost_usd: float | None
    total_cost_usd: float | None
    mean_input_tokens: float
    mean_output_tokens: float
    first_token_ms: Spread
    total_ms: Spread

    @property
    def mean_tokens(self) -> float:
        """The mean of all tokens per question."""
        return self.mean_input_tokens + self.mean_output_tokens


def make_standings(evaluation: Evaluation) -> list[Standing]:
    """Return the results of all contestants that have an answer, ensembles first."""
    order = {"ensemble": 0, "equal_cost": 1, "member": 2}
    contestants = sorted(evaluation.contestants, key=lambda each: order[each.kind])
    judged = {each.id for each in evaluation.questions if each.is_judged}
    found = []
    for contestant in contestants:
        answers = [each for each in evaluation.answers if each.contestant == contestant.name]
        if answers:
            found.append(_make_standing(contestant, answers, judged))
    return found


def _make_standing(
    contestant: Contestant, answers: Sequence[GivenAnswer], judged: set[str]
) -> Standing:
    graded = [each for each in answers if each.question_id not in judged]
    names = [each.grade.name for each in graded if each.grade and not each.error]
    costs = [each.cost_usd for each in answers if each.cost_usd is not None]
    has_costs = len(costs) == len(answers)
    count = len(answers)
    return Standing(
        contestant=contestant,
        answered=count - sum(bool(each.error) for each in answers),
        right=Share(names.count("right"), len(graded)),
        undecided=names.count("undecided"),
        failed=sum(bool(each.error) for each in answers),
        judged=count - len(graded),
        mean_cost_usd=sum(costs) / count if has_costs else None,
        total_cost_usd=sum(costs) if has_costs else None,
        mean_input_tokens=sum(each.input_tokens for each in answers) / count,
        mean_output_tokens=sum(each.output_tokens for each in answers) / count,
        first_token_ms=_measure([each.first_token_ms for each in answers]),
        total_ms=_measure([each.total_ms for each in answers]),
    )


def _measure(values: Sequence[float | None]) -> Spread:
    known = [value for value in values if value is not None]
    return Spread(find_percentile(known, 50), find_percentile(known, 95))
