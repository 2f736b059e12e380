"""The best member of an ensemble, asked as often as the money for the ensemble pays for.

The comparison answers whether the same money is better spent on one model: its answer is that of
most of its samples, by the strategy `vote` without a judge. Only the first of these samples may be
the one by which the member was chosen as the best, so that this choice hardly favours it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.ensembles.agents import Agent
from service.evaluation.comparing.outcomes import Outcomes
from service.evaluation.panels.entrants import Entrants, list_members
from service.evaluation.questions.question import Question
from service.evaluation.results import Contestant, GivenAnswer, JudgedPair

MAX_SAMPLES: Final = 9

Answers = Mapping[tuple[str, str], GivenAnswer]  # by contestant and question


@dataclass(frozen=True, slots=True)
class EqualCost:
    """A member that is asked `times` times, at about the cost of an ensemble."""

    contestant: Contestant
    agent: Agent
    times: int
    note: str


def choose_equal_costs(
    entrants: Entrants, questions: Sequence[Question], answers: Answers, pairs: Sequence[JudgedPair]
) -> list[EqualCost]:
    """Return one for each ensemble of several members of which there are answers."""
    outcomes = Outcomes(answers.values(), pairs)
    asked = {contestant for contestant, _ in answers}
    found = []
    for ensemble in entrants.ensembles:
        members = [each for each in list_members(ensemble) if each in asked]
        if (len(list_members(ensemble)) == 1 and len(ensemble.agents) == 1) or not members:
            continue
        points = outcomes.count_points(members, questions)
        best = max(members, key=lambda name: points[name])
        ratio, unit = _find_ratio(ensemble.name, best, questions, answers)
        times = min(MAX_SAMPLES, max(1, round(ratio)))
        contestant = Contestant(
            name=f"{best} x{times} for {ensemble.name}",
            kind="equal_cost",
            members=(best,),
            equal_cost_to=ensemble.name,
        )
        limit = f", limited to {MAX_SAMPLES}" if round(ratio) > MAX_SAMPLES else ""
        note = f"{ensemble.name} takes {ratio:.1f} times the {unit} of {best}{limit}."
        found.append(EqualCost(contestant, entrants.members[best], times, note))
    return found


def _find_ratio(
    ensemble: str, member: str, questions: Sequence[Question], answers: Answers
) -> tuple[float, str]:
    """Return the cost of an ensemble by that of a member; by tokens where prices are missing."""
    both = [
        (answers[ensemble, each.id], answers[member, each.id])
        for each in questions
        if (ensemble, each.id) in answers and (member, each.id) in answers
    ]
    costs = [(one.cost_usd, other.cost_usd) for one, other in both if not other.error]
    if costs and all(one is not None and other for one, other in costs):
        return sum(one or 0.0 for one, _ in costs) / sum(other or 0.0 for _, other in costs), "cost"
    tokens = [(_count_tokens(one), _count_tokens(other)) for one, other in both if not other.error]
    total = sum(other for _, other in tokens)
    return (sum(one for one, _ in tokens) / total if total else 1.0), "tokens"


def _count_tokens(answer: GivenAnswer) -> int:
    return answer.input_tokens + answer.output_tokens
