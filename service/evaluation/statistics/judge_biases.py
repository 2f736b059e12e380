"""Biases of a judge, measured on its verdicts: for length, for a position, for its own family.

A share that differs from one half is a sign, not a proof: longer answers, and those of the judge's
family, may be better. The reports state it next to the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.ensembles.model_families import name_family
from service.evaluation.results import Evaluation, GivenAnswer, JudgedPair
from service.evaluation.statistics.intervals import Interval, wilson_interval

CLEARLY_LONGER = 1.25  # times the length of the other answer


@dataclass(frozen=True, slots=True)
class Share:
    """A count of a total, with Wilson's interval."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> Interval:
        """Wilson's interval at 95 %."""
        return wilson_interval(self.count, self.total)

    @property
    def is_biased(self) -> bool:
        """Whether the interval excludes one half."""
        return self.interval.excludes(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeBiases:
    """The measured biases of a judge.

    `longer_won`: of the decided pairs in which one answer is clearly longer. `orders_differ`: of
    the pairs with two verdicts; `first_won`: of those with verdicts for different answers,
    how often it was the one shown first. `own_family_won`: of the decided pairs with exactly one
    answer by a model of the judge's family. `repeated` counts calls that were sent again after
    nonsense, `undecided` the pairs without a verdict.
    """

    pairs: int
    undecided: int
    repeated: int
    longer_won: Share
    orders_differ: Share
    first_won: Share
    own_family_won: Share
    family: str


def measure_biases(evaluation: Evaluation) -> JudgeBiases:
    """Return the biases of the evaluation's judge."""
    answers = {(each.question_id, each.contestant): each for each in evaluation.answers}
    pairs = [each for each in evaluation.pairs if _has_texts(each, answers)]
    family = name_family(evaluation.inputs.judge_model)
    ordered = [each for each in pairs if "undecided" not in each.verdicts]
    opposed = [each.verdicts for each in ordered if set(each.verdicts) == {"left", "right"}]
    return JudgeBiases(
        pairs=len(evaluation.pairs),
        undecided=sum(each.outcome == "undecided" for each in evaluation.pairs),
        repeated=sum(each.repeated for each in evaluation.pairs),
        longer_won=_count(_find_longer_wins(pairs, answers)),
        orders_differ=_count(each.verdicts[0] != each.verdicts[1] for each in ordered),
        first_won=_count(verdicts == ("left", "right") for verdicts in opposed),
        own_family_won=_count(_find_family_wins(pairs, answers, family)),
        family=family,
    )


_Answers = Mapping[tuple[str, str], GivenAnswer]


def _count(results: Iterable[bool]) -> Share:
    listed = list(results)
    return Share(sum(listed), len(listed))


def _has_texts(pair: JudgedPair, answers: _Answers) -> bool:
    """Return whether both answers are known, and differ: equal ones are a tie without a judge."""
    texts = [answers.get((pair.question_id, name)) for name in (pair.left, pair.right)]
    left, right = (each.text.strip() if each else None for each in texts)
    return left is not None and right is not None and left != right


def _find_longer_wins(pairs: Iterable[JudgedPair], answers: _Answers) -> Iterable[bool]:
    for pair, left, right in _decided(pairs, answers):
        left_chars, right_chars = len(left.text.strip()), len(right.text.strip())
        shorter, longer = sorted((left_chars, right_chars))
        if shorter and longer >= CLEARLY_LONGER * shorter:
            yield (pair.outcome == "left") == (left_chars > right_chars)


def _find_family_wins(
    pairs: Iterable[JudgedPair], answers: _Answers, family: str
) -> Iterable[bool]:
    for pair, left, right in _decided(pairs, answers):
        is_left, is_right = (
            bool(family) and name_family(each.model) == family for each in (left, right)
        )
        if is_left != is_right:
            yield (pair.outcome == "left") == is_left


def _decided(
    pairs: Iterable[JudgedPair], answers: _Answers
) -> Iterable[tuple[JudgedPair, GivenAnswer, GivenAnswer]]:
    for pair in pairs:
        if pair.outcome in ("left", "right"):
            left, right = (answers[pair.question_id, name] for name in (pair.left, pair.right))
            yield pair, left, right
