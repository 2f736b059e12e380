"""The sample that the project includes: questions on public facts, and ensembles of the mock."""

from __future__ import annotations

from service.evaluation.questions.question import Question
from service.evaluation.questions.reader import SAMPLE_FILE, read_questions

SAMPLE_ENSEMBLES = SAMPLE_FILE.with_name("ensembles.toml")


def read_sample() -> tuple[Question, ...]:
    """Return the questions of the sample. Raises QuestionsFileError."""
    return read_questions(SAMPLE_FILE)
