"""The outcome of one question between two contestants, from grades or from the judge's verdicts."""

from __future__ import annotations

from typing import Literal

from service.evaluation.questions.question import Question
from service.evaluation.results import Contestant, Evaluation, GivenAnswer, JudgedPair

MeetingOutcome = Literal["win", "tie", "loss", "undecided"]
_MIRRORED: dict[MeetingOutcome, MeetingOutcome] = {"win": "loss", "loss": "win"}


class Results:
    """The results of an evaluation by contestant and question."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self._answers = {(each.contestant, each.question_id): each for each in evaluation.answers}
        self._pairs = {(each.left, each.right, each.question_id): each for each in evaluation.pairs}

    @property
    def ensembles(self) -> list[Contestant]:
        """The ensembles among the contestants."""
        return [each for each in self.evaluation.contestants if each.kind == "ensemble"]

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
