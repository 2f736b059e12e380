"""Answers compared with a word, a name or a phrase."""

from __future__ import annotations

import pytest

from service.evaluation.grading.grade import grade_answer
from service.evaluation.questions.question import ExactReference, JudgedReference


def _grade(text: str, *accepted: str) -> str:
    grade = grade_answer(text, ExactReference(accepted))
    assert grade is not None
    assert grade.reason
    return grade.name


@pytest.mark.parametrize(
    "text",
    [
        "Paris",
        "  PARIS!\n",
        "**Paris**",
        "“Paris”.",
        "Ｐａｒｉｓ",
        "\\boxed{Paris}",
        "The answer is Paris.",
        "Answer: Paris, France",
        "The capital of France is Paris.",
        "Paris is the capital of France. It lies on the Seine.",
        "First, think about Lyon.\n\nFinal answer: Paris",
        "Paris is the capital.\n\nLet me know if you need more!",
        "It is Paris. I hope this helps.",
    ],
)
def test_a_text_with_the_reference_as_its_final_answer_is_right(text: str) -> None:
    assert _grade(text, "Paris") == "right"


@pytest.mark.parametrize(
    "text",
    ["Lyon", "Answer: Lyon", "", " \n", "I do not know.", "Parisian people know it.", "Paraguay"],
)
def test_a_text_without_the_reference_is_wrong(text: str) -> None:
    assert _grade(text, "Paris") == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "It is not Paris.",
        "It is Paris or Lyon.",
        "Perhaps Paris.",
        "Paris was my first thought. But the capital is Lyon.",
        "Many say Paris.\n\nAnswer: Lyon",
    ],
)
def test_a_text_that_names_the_reference_without_stating_it_is_undecided(text: str) -> None:
    assert _grade(text, "Paris") == "undecided"


@pytest.mark.parametrize(
    ("text", "reference", "grade"),
    [
        ("Yes, it is.", "yes", "right"),
        ("True", "yes", "right"),
        ("No.", "yes", "wrong"),
        ("Yes and no.", "yes", "undecided"),
        (
            "Nobody knows it in Norway at noon, I think, and that is what matters here.",
            "no",
            "wrong",
        ),
        ("(B) Paris", "B", "right"),
        ("The answer is B.", "b", "right"),
        ("A", "B", "wrong"),
        ("Option B is correct.", "B", "undecided"),
        (
            "There is a city, a river and a bridge, and all of this says nothing",
            "A",
            "wrong",
        ),
    ],
)
def test_letters_and_polarity_are_no_words_to_search_for(
    text: str, reference: str, grade: str
) -> None:
    assert _grade(text, reference) == grade


def test_any_of_several_accepted_answers_is_right() -> None:
    assert _grade("It was Mark Twain.", "Samuel Clemens", "Mark Twain") == "right"


def test_a_hedge_inside_the_reference_is_no_hedge() -> None:
    assert _grade("The line is: to be, or not to be.", "To be or not to be") == "right"


def test_accents_matter_and_their_forms_do_not() -> None:
    assert _grade("Chloe\u0301", "Chloé") == "right"
    assert _grade("Chloe", "Chloé") == "wrong"


def test_judged_references_have_no_grade() -> None:
    assert grade_answer("anything", JudgedReference("x")) is None
    assert grade_answer("", JudgedReference("x")) is None


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "Paris. " * 20_000, "{[" * 50_000, "\\boxed{" * 20_000],
    ids=["one word", "sentences", "brackets", "boxes"],
)
def test_long_and_hostile_texts_are_graded(text: str) -> None:
    assert _grade(text, "Berlin") == "wrong"
