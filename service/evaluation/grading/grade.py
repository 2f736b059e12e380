"""The grade of an answer: right, wrong, or undecided where the text does not permit a decision.

A contestant is not helped by vagueness: an undecided answer does not count as right. It is not
called wrong either, so that people can read these answers, which the reports list.
"""

from __future__ import annotations

from service.evaluation.grading.exact import grade_exact
from service.evaluation.grading.json_value import grade_json
from service.evaluation.grading.numeric import grade_numeric
from service.evaluation.questions.question import (
    ExactReference,
    JsonReference,
    NumericReference,
    QuestionReference,
)
from service.evaluation.results import Grade


def grade_answer(text: str, reference: QuestionReference) -> Grade | None:
    """Return the grade of an answer's text; None for references that need a judge."""
    if not text.strip() and isinstance(reference, _GRADED):
        return Grade("wrong", "There is no answer.")
    if isinstance(reference, ExactReference):
        return grade_exact(text, reference)
    if isinstance(reference, NumericReference):
        return grade_numeric(text, reference)
    if isinstance(reference, JsonReference):
        return grade_json(text, reference)
    return None


_GRADED = ExactReference | NumericReference | JsonReference
