"""The outcome of one question between two contestants, from grades or from the judge's verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from service.evaluation.questions.question import Question
from service.evaluation.results import Contestant, Evaluation, GivenAnswer, JudgedPair

MeetingOutcome = Literal["win", "tie", "loss", "undecided"]
_MIRRORED: dict[MeetingOutcome, MeetingOutcome] = {"win": "loss", "loss": "win"}
_POINTS: Mapping[MeetingOutcome, float] = {"win": 1.0, "tie": 0.5, "undecided": 0.5, "loss": 0.0}


class Outcomes:
    """Answers and verdicts by contestant and question, and the outcomes that follow from them."""

    def __init__(self, answers: Iterable[GivenAnswer], pairs: Iterable[JudgedPair]) -> None:
        self._answers = {(each.contestant, each.question_id): each for each in answers}
        self._pairs = {(each.left, each.right, each.question_id): each for each in pairs}

    def find_answer(self, contestant: str, question: Question) -> GivenAnswer | None:
        """Return the answer of a contestant; None if it was not asked."""
        return self._answers.get((contestant, question.id))

    def find_outcome(self, question: Question, one: str, other: str) -> MeetingOutcome | None:
        """Return the outcome for `one`; None if one of them was not asked, or not compared.

        A contestant without an answer loses to one with an answer. Graded answers tie if both are
        right or both are wrong, and are undecided if one of the grades is.
        """
        first, second = self.find_answer(one, question), self.find_answer(other, question)
        if first is None or second is None:
            return None
        if not question.is_judged:
            return _compare_grades(_get_grade(first), _get_grade(second))
        if first.error or second.error:
            return _compare_numbers(not first.error, not second.error)
        pair = self._pairs.get((one, other, question.id))
        if pair is not None:
            return _name_outcome(pair)
        pair = self._pairs.get((other, one, question.id))
        if pair is None:
            return None
        outcome = _name_outcome(pair)
        return _MIRRORED.get(outcome, outcome)

    def count_points(
        self, members: Sequence[str], questions: Iterable[Question]
    ) -> Mapping[str, float]:
        """Return the points of members: for right answers, and for comparisons with each other."""
        points = dict.fromkeys(members, 0.0)
        for question in questions:
            for member in members:
                points[member] += self._score(member, members, question)
        return points

    def _score(self, member: str, members: Sequence[str], question: Question) -> float:
        if not question.is_judged:
            answer = self.find_answer(member, question)
            return float(answer is not None and _get_grade(answer) == "right")
        outcomes = [
            self.find_outcome(question, member, other) for other in members if other != member
        ]
        known = [_POINTS[outcome] for outcome in outcomes if outcome is not None]
        return sum(known) / len(known) if known else 0.0


class Results(Outcomes):
    """The results of an evaluation by contestant and question."""

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__(evaluation.answers, evaluation.pairs)
        self.evaluation = evaluation

    @property
    def ensembles(self) -> list[Contestant]:
        """The ensembles among the contestants."""
        return [each for each in self.evaluation.contestants if each.kind == "ensemble"]


def _get_grade(answer: GivenAnswer) -> str:
    if answer.error:
        return "wrong"
    return answer.grade.name if answer.grade else "undecided"


def _compare_grades(first: str, second: str) -> MeetingOutcome:
    if "undecided" in (first, second):
        return "undecided"
    return _compare_numbers(first == "right", second == "right")


def _compare_numbers(first: bool, second: bool) -> MeetingOutcome:
    if first == second:
        return "tie"
    return "win" if first else "loss"


def _name_outcome(pair: JudgedPair) -> MeetingOutcome:
    outcomes: dict[str, MeetingOutcome] = {"left": "win", "right": "loss"}
    return outcomes.get(pair.outcome, "undecided" if pair.outcome == "undecided" else "tie")
