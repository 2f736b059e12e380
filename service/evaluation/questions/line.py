"""One line of a questions file: a JSON object with a question and at most one reference answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from service.evaluation.questions.question import (
    NO_TOPIC,
    ExactReference,
    JsonReference,
    JudgedReference,
    NumericReference,
    Question,
    QuestionReference,
)

MAX_QUESTION_CHARS = 100_000
MAX_NAME_CHARS = 100  # of an id, of a topic
_KINDS = ("exact", "numeric", "json", "judged")


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    id: str | None = None
    topic: str = NO_TOPIC
    exact: str | list[str] | None = None
    numeric: int | float | None = None
    tolerance: int | float | None = None
    json: dict[str, Any] | list[Any] | None = None
    judged: str | None = None


def parse_line(text: str, default_id: str) -> Question:
    """Return the question of a line. Raises ValueError with the reason, without a full stop."""
    value = _parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("a line must be a JSON object")
    _check_characters(text, value)
    if null := [name for name, each in value.items() if each is None]:
        raise ValueError(f"`{null[0]}` is null; leave it out")
    try:
        fields = msgspec.convert(value, _Fields)
    except msgspec.ValidationError as error:
        raise ValueError(_describe(error)) from error
    return Question(
        id=_check_name("id", default_id if fields.id is None else fields.id),
        text=_check_question(fields.question),
        reference=_make_reference(fields, [kind for kind in _KINDS if kind in value]),
        topic=_check_name("topic", fields.topic),
    )


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_make_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{double}` is in one object twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _check_characters(text: str, value: Mapping[str, Any]) -> None:
    """Refuse what databases and UTF-8 cannot store, also where it is written as an escape."""
    if "\\u" not in text and "\0" not in text:
        return
    written = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in written:
        raise ValueError("it contains the character U+0000")
    try:
        written.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it contains half of a surrogate pair") from error


def _describe(error: msgspec.ValidationError) -> str:
    sentence, _, path = str(error).partition(" - at `$")
    sentence = sentence[:1].lower() + sentence[1:]
    return f"`{path.strip('.`')}`: {sentence}" if path.strip(".`") else sentence


def _check_name(field: str, name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARS:
        raise ValueError(
            f"`{field}` must be 1 to {MAX_NAME_CHARS} printable characters, not only white space"
        )
    return name.strip()


def _check_question(text: str) -> str:
    if not text.strip():
        raise ValueError("`question` is empty")
    if len(text) > MAX_QUESTION_CHARS:
        raise ValueError(f"`question` is longer than {MAX_QUESTION_CHARS:,} characters")
    return text


def _make_reference(fields: _Fields, kinds: list[str]) -> QuestionReference:
    if len(kinds) > 1:
        raise ValueError(f"it has several reference answers: {', '.join(kinds)}")
    if fields.tolerance is not None and kinds != ["numeric"]:
        raise ValueError("`tolerance` needs `numeric`")
    if fields.exact is not None:
        return ExactReference(_check_answers(fields.exact))
    if fields.numeric is not None:
        tolerance = _to_float("tolerance", fields.tolerance or 0)
        if tolerance < 0:
            raise ValueError("`tolerance` is negative")
        return NumericReference(_to_float("numeric", fields.numeric), tolerance)
    if fields.json is not None:
        return JsonReference(_check_json(fields.json))
    if fields.judged is not None and not fields.judged.strip():
        raise ValueError("`judged` is empty; leave it out for a question without a reference")
    return JudgedReference(fields.judged or "")


def _check_answers(exact: str | list[str]) -> tuple[str, ...]:
    answers = [exact] if isinstance(exact, str) else exact
    if not answers or not all(each.strip() for each in answers):
        raise ValueError("`exact` is empty")
    if not all(any(char.isalnum() for char in each) for each in answers):
        raise ValueError("`exact` must have a letter or a digit, as punctuation is not compared")
    return tuple(each.strip() for each in answers)


def _check_json(value: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any]:
    try:
        json.dumps(value, allow_nan=False)
        msgspec.json.encode(value)
    except (ValueError, OverflowError) as error:
        raise ValueError("`json` has a number that is too large") from error
    return value


def _to_float(field: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError(f"`{field}` is too large") from error
    if not math.isfinite(number):
        raise ValueError(f"`{field}` is too large")
    return number
