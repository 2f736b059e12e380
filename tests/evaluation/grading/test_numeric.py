"""Answers compared with a number."""

from __future__ import annotations

import pytest

from service.evaluation.grading.grade import grade_answer
from service.evaluation.questions.question import NumericReference


def _grade(text: str, value: float, tolerance: float = 0.0) -> str:
    grade = grade_answer(text, NumericReference(value, tolerance))
    assert grade is not None
    return grade.name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("144", 144),
        ("144.0", 144),
        ("1.44e2", 144),
        ("**144**", 144),
        ("\\boxed{144}", 144),
        ("12 × 12 = 144", 144),
        ("There are 12 dozen, so 144 eggs.", 144),
        ("about 144", 144),
        ("A day has 24 hours. That is 1440 minutes.", 24),
        ("A day has twenty-four hours.", 24),
        ("An adult has two hundred and six bones.", 206),
        ("It landed on July 20, 1969.", 1969),
        ("1,234,567", 1234567),
        ("1 234 567 people", 1234567),
        ("about 3 million", 3e6),
        ("Three million people live there.", 3e6),
        ("50%", 50),
        ("3/4", 0.75),
        ("0.1", 0.1),
        ("-40 degrees", -40),
        ("zero", 0),
        ("It is 144 in total. Hope this helps!", 144),
    ],
)
def test_a_number_in_any_common_form_is_right(text: str, value: float) -> None:
    assert _grade(text, value) == "right"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("143", 144),
        ("-144", 144),
        ("14.4", 144),
        ("144 thousand", 144),
        ("I do not know.", 144),
        ("", 144),
        ("100 + 44 = 145", 145.5),
        ("9" * 5000, 144),
        ("12 * 12 = 144\n\nAnswer: 145", 144),
    ],
)
def test_another_number_is_wrong(text: str, value: float) -> None:
    assert _grade(text, value) == "wrong"


@pytest.mark.parametrize(
    "text", ["144 or 145", "144 eggs in 12 boxes", "It may be 144.", "Not 144."]
)
def test_a_number_that_is_not_stated_as_the_answer_is_undecided(text: str) -> None:
    assert _grade(text, 144) == "undecided"


def test_the_tolerance_is_an_absolute_difference() -> None:
    assert _grade("3.14159", 3.14, 0.01) == "right"
    assert _grade("3.16", 3.14, 0.01) == "wrong"
    assert _grade("3.15", 3.14, 0.01) == "right"
