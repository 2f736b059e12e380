"""Outcomes of questions between two contestants."""

from __future__ import annotations

import pytest

from service.evaluation.comparing.outcomes import Results
from service.evaluation.questions.question import ExactReference, JudgedReference, Question
from service.evaluation.results import (
    Contestant,
    Evaluation,
    GivenAnswer,
    Grade,
    GradeName,
    JudgedPair,
    PairVerdict,
)
from tests._support.evaluation.mock_evaluations import INPUTS

_GRADED = Question(id="g", text="?", reference=ExactReference(("x",)))
_JUDGED = Question(id="j", text="?", reference=JudgedReference())


def _answer(question: Question, name: str, grade: GradeName | None, error: str = "") -> GivenAnswer:
    given = Grade(grade, "A reason.") if grade else None
    return GivenAnswer(
        question_id=question.id, contestant=name, run_id="r", text="t", grade=given, error=error
    )


def _results(*answers: GivenAnswer, pairs: tuple[JudgedPair, ...] = ()) -> Results:
    contestants = (Contestant(name="a", kind="ensemble"), Contestant(name="b", kind="member"))
    return Results(
        Evaluation(
            inputs=INPUTS,
            questions=(_GRADED, _JUDGED),
            contestants=contestants,
            answers=answers,
            pairs=pairs,
        )
    )


@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [
        ("right", "wrong", "win"),
        ("wrong", "right", "loss"),
        ("right", "right", "tie"),
        ("wrong", "wrong", "tie"),
        ("undecided", "right", "undecided"),
        ("wrong", "undecided", "undecided"),
    ],
)
def test_grades_decide(one: GradeName, other: GradeName, outcome: str) -> None:
    results = _results(_answer(_GRADED, "a", one), _answer(_GRADED, "b", other))
    assert results.find_outcome(_GRADED, "a", "b") == outcome


def test_a_contestant_without_an_answer_loses_to_a_right_one() -> None:
    failed = _answer(_GRADED, "a", None, error="The model failed.")
    assert (
        _results(failed, _answer(_GRADED, "b", "right")).find_outcome(_GRADED, "a", "b") == "loss"
    )
    assert _results(failed, _answer(_GRADED, "b", "wrong")).find_outcome(_GRADED, "a", "b") == "tie"


def test_a_judged_question_is_lost_without_an_answer() -> None:
    failed = _answer(_JUDGED, "a", None, error="The model failed.")
    results = _results(failed, _answer(_JUDGED, "b", None))
    assert results.find_outcome(_JUDGED, "a", "b") == "loss"
    assert results.find_outcome(_JUDGED, "b", "a") == "win"


@pytest.mark.parametrize(
    ("verdicts", "outcome", "mirrored"),
    [
        (("left", "left"), "win", "loss"),
        (("right", "right"), "loss", "win"),
        (("left", "right"), "tie", "tie"),
        (("left", "tie"), "tie", "tie"),
        (("tie", "tie"), "tie", "tie"),
        (("left", "undecided"), "undecided", "undecided"),
    ],
)
def test_both_orders_must_agree_for_a_win(
    verdicts: tuple[PairVerdict, PairVerdict], outcome: str, mirrored: str
) -> None:
    pair = JudgedPair(question_id="j", left="a", right="b", verdicts=verdicts)
    results = _results(_answer(_JUDGED, "a", None), _answer(_JUDGED, "b", None), pairs=(pair,))
    assert results.find_outcome(_JUDGED, "a", "b") == outcome
    assert results.find_outcome(_JUDGED, "b", "a") == mirrored


def test_a_question_that_was_not_asked_or_judged_has_no_outcome() -> None:
    assert _results(_answer(_GRADED, "a", "right")).find_outcome(_GRADED, "a", "b") is None
    both = _results(_answer(_JUDGED, "a", None), _answer(_JUDGED, "b", None))
    assert both.find_outcome(_JUDGED, "a", "b") is None
