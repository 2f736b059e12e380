"""The best member of an ensemble, chosen on other questions than those of the comparison.

A member that is chosen as the best on the same questions has also had the most luck on them, and
an ensemble would look worse than it is. So the questions are divided into parts, and on each part
the opponent is the member with the most points on all other parts (cross-validation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from service.evaluation.comparing.outcomes import Results
from service.evaluation.questions.question import Question
from service.evaluation.results import Contestant

PARTS = 5
_POINTS = {"win": 1.0, "tie": 0.5, "undecided": 0.5, "loss": 0.0}


def choose_best_members(results: Results, ensemble: Contestant) -> Mapping[str, str]:
    """Return the name of the ensemble's opponent by question id; empty without members.

    The seed of the evaluation divides the questions. Of equal members the first is chosen.
    """
    evaluation = results.evaluation
    questions = list(evaluation.questions)
    Random(f"parts {evaluation.inputs.seed}").shuffle(questions)  # noqa: S311
    opponents: dict[str, str] = {}
    members = list(dict.fromkeys(ensemble.members))
    for part in range(PARTS) if members else ():
        own = questions[part::PARTS]
        ids = {each.id for each in own}
        others = [each for each in questions if each.id not in ids]
        points = _count_points(results, members, others)
        best = max(members, key=lambda name: points[name])
        opponents |= dict.fromkeys(ids, best)
    return opponents


def _count_points(
    results: Results, members: Sequence[str], questions: Iterable[Question]
) -> Mapping[str, float]:
    """Return the points of members: for right answers, and for comparisons with each other."""
    points = dict.fromkeys(members, 0.0)
    for question in questions:
        for member in members:
            points[member] += _score(results, member, members, question)
    return points


def _score(results: Results, member: str, members: Sequence[str], question: Question) -> float:
    if not question.is_judged:
        answer = results.find_answer(member, question)
        return float(bool(answer and answer.grade and answer.grade.name == "right"))
    outcomes = [
        results.find_outcome(question, member, other) for other in members if other != member
    ]
    known = [_POINTS[outcome] for outcome in outcomes if outcome is not None]
    return sum(known) / len(known) if known else 0.0
