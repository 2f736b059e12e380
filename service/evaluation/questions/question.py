"""Questions with their reference answers. No I/O.

The kind of the reference decides how answers are graded: `exact`, `numeric` and `json` references
by comparison, `judged` ones by a judge that compares two answers at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

NO_TOPIC = "general"


class ExactReference(msgspec.Struct, frozen=True, tag_field="kind", tag="exact"):
    """Accepted answers; letter case, punctuation, articles and Unicode forms do not matter."""

    answers: tuple[str, ...]


class NumericReference(msgspec.Struct, frozen=True, tag_field="kind", tag="numeric"):
    """A number. An answer is right within `tolerance`, an absolute difference."""

    value: float
    tolerance: float = 0.0


class JsonReference(msgspec.Struct, frozen=True, tag_field="kind", tag="json"):
    """An object or array. The order of keys does not matter, and 1 equals 1.0."""

    value: dict[str, Any] | list[Any]


class JudgedReference(msgspec.Struct, frozen=True, tag_field="kind", tag="judged"):
    """An answer that the judge is shown as the reference; empty for none."""

    answer: str = ""


QuestionReference = ExactReference | NumericReference | JsonReference | JudgedReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of an evaluation."""

    id: str
    text: str
    reference: QuestionReference
    topic: str = NO_TOPIC

    @property
    def is_judged(self) -> bool:
        """Whether a judge compares the answers, instead of a grade for each of them."""
        return isinstance(self.reference, JudgedReference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A part of the questions: those of some topics, and at most `limit` of them.

    With a limit, `seed` chooses which, and they retain the order of the file.
    """

    topics: frozenset[str] = frozenset()
    limit: int | None = None
    seed: int = 0

    def choose(self, questions: Sequence[Question]) -> tuple[Question, ...]:
        """Return the selected questions in the order of the file."""
        fitting = [each for each in questions if not self.topics or each.topic in self.topics]
        if self.limit is None or self.limit >= len(fitting):
            return tuple(fitting)
        chosen = Random(self.seed).sample(range(len(fitting)), self.limit)  # noqa: S311
        return tuple(fitting[at] for at in sorted(chosen))


def hash_questions(questions: Sequence[Question]) -> str:
    """Return the SHA-256 of everything that the questions contain, in hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(questions, order="deterministic")).hexdigest()
