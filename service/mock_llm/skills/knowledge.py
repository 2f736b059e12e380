"""The questions that the mock can answer: those of the sample, and arithmetic with two numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from service.evaluation.questions.question import (
    ExactReference,
    JsonReference,
    NumericReference,
    Question,
    QuestionReference,
)
from service.evaluation.questions.sample import read_sample

_ARITHMETIC = re.compile(r"(?<![\w.])(-?\d{1,9}) ([-+*×/÷]) (-?\d{1,9})(?![\w]|\.\d)")
_OPERATOR = re.compile(r"\d\s*[-+*×/÷]\s*-?(?=\d)")
_OPERATIONS: Mapping[str, Callable[[int, int], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "×": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "÷": lambda a, b: a / b,
}
_STEPS = (1, 2, 3, 5, 7, 10, -1, -2, -3, -5)  # from the right number to wrong ones
_ANSWER_LINE = re.compile(r"(?:^|\n)Answer: (.+)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """The right answer to a question in the mock's form, and wrong ones."""

    question: str
    topic: str
    right: str
    wrong: tuple[str, ...]
    reference: QuestionReference

    def is_right(self, text: str) -> bool:
        """Return whether a text in the mock's form, or one that quotes it, is right."""
        if isinstance(self.reference, JsonReference):
            return bool(_read_json(text) == self.reference.value)
        marked = _ANSWER_LINE.findall(text)
        answer = marked[-1] if marked else text
        if isinstance(self.reference, NumericReference):
            value = self.reference.value
            margin = self.reference.tolerance + 1e-9 * max(1.0, abs(value))
            numbers = _NUMBER.findall(answer.replace(",", ""))
            return bool(numbers) and abs(float(numbers[-1]) - value) <= margin
        accepted = (
            self.reference.answers
            if isinstance(self.reference, ExactReference)
            else (self.reference.answer,)
        )
        words = f" {_join_words(answer)} "
        return any(f" {_join_words(each)} " in words for each in accepted)


def find_known_answer(text: str) -> KnownAnswer | None:
    """Return the answer to the longest known question in `text`, or to its arithmetic."""
    plain = " ".join(text.split())
    known = [each for each in _read_known_answers() if each.question in plain]
    if known:
        return max(known, key=lambda each: len(each.question))
    return _calculate(plain)


def _calculate(text: str) -> KnownAnswer | None:
    found = _ARITHMETIC.search(text)
    if found is None or len(_OPERATOR.findall(text)) > 1:
        return None
    if found[2] in "/÷" and not int(found[3]):
        return None
    value = _OPERATIONS[found[2]](int(found[1]), int(found[3]))
    reference = NumericReference(value, 1e-6 if value % 1 else 0.0)
    wrong = tuple(f"Answer: {value + step:.10g}" for step in _STEPS)
    return KnownAnswer(text, "arithmetic", f"Answer: {value:.10g}", wrong, reference)


@lru_cache(maxsize=1)
def _read_known_answers() -> Sequence[KnownAnswer]:
    sample = read_sample()
    answers = (_make_known(each, sample) for each in sample)
    return [each for each in answers if each is not None]


def _make_known(question: Question, sample: Sequence[Question]) -> KnownAnswer | None:
    """Return the known answer to a question; wrong ones are right for others of the sample."""
    reference = question.reference
    if isinstance(reference, NumericReference):
        size = max(1.0, 3 * reference.tolerance)
        wrong = [f"Answer: {reference.value + step * size:.10g}" for step in _STEPS]
    else:
        others = [each for each in sample if each.id != question.id]
        others.sort(key=lambda each: each.topic != question.topic)
        same_kind = [each.reference for each in others if type(each.reference) is type(reference)]
        wrong = [_write(each) for each in same_kind][:5]
    text = " ".join(question.text.split())
    return KnownAnswer(text, question.topic, _write(reference), tuple(wrong), reference)


def _write(reference: QuestionReference) -> str:
    """Return a right answer in the form of the mock."""
    if isinstance(reference, ExactReference):
        return f"Answer: {reference.answers[0]}"
    if isinstance(reference, NumericReference):
        return f"Answer: {reference.value:.10g}"
    if isinstance(reference, JsonReference):
        return json.dumps(reference.value, ensure_ascii=False)
    return reference.answer


def _read_json(text: str) -> Any:
    """Return the JSON value at the end of a text; None if there is none."""
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    try:
        return json.JSONDecoder().raw_decode(text, min(starts))[0] if starts else None
    except (ValueError, RecursionError):
        return None


def _join_words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
