"""The sample of questions on public facts that the project includes, written for it."""

from __future__ import annotations

from service.evaluation.questions.question import Question
from service.evaluation.questions.reader import SAMPLE_FILE, read_questions


def read_sample() -> tuple[Question, ...]:
    """Return the questions of the sample. Raises QuestionsFileError."""
    return read_questions(SAMPLE_FILE)
