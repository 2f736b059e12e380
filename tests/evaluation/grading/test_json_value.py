"""Answers compared with a JSON value."""

from __future__ import annotations

import pytest

from service.evaluation.grading.grade import grade_answer
from service.evaluation.questions.question import JsonReference

_REFERENCE = JsonReference({"name": "Ada", "born": 1815, "tags": [True, None]})


@pytest.mark.parametrize(
    "text",
    [
        '{"tags": [true, null], "born": 1815.0, "name": "Ada"}',
        'Here it is:\n```json\n{"name": "Ada", "born": 1815, "tags": [true, null]}\n```\nDone.',
        '{"name": " Ada", "born": 1815, "tags": [true, null],}',
    ],
)
def test_an_equal_value_is_right_in_any_order_and_any_wrapping(text: str) -> None:
    grade = grade_answer(text, _REFERENCE)
    assert grade
    assert grade.name == "right"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ada, born 1815", "no JSON"),
        ('{"name": "Ada", "born": 1815}', "no `tags`"),
        ('{"name": "Ada", "born": 1815, "tags": [true, null], "x": 1}', "another key, `x`"),
        ('{"name": "ada", "born": 1815, "tags": [true, null]}', "`$.name`"),
        ('{"name": "Ada", "born": "1815", "tags": [true, null]}', "`$.born`"),
        ('{"name": "Ada", "born": 1815, "tags": [1, null]}', "`$.tags[0]`"),
        ('{"name": "Ada", "born": 1815, "tags": [true]}', "1 items, not 2"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_different_value_is_wrong_with_its_place(text: str, reason: str) -> None:
    grade = grade_answer(text, _REFERENCE)
    assert grade
    assert grade.name == "wrong"
    assert reason in grade.reason
