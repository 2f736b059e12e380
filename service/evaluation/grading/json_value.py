"""Grades of answers to questions with a JSON object or array as reference."""

from __future__ import annotations

import unicodedata
from typing import Any

from service.evaluation.questions.question import JsonReference
from service.evaluation.results import Grade
from service.strategies.judging.json_text import find_json

_SHOWN_CHARS = 40


def grade_json(text: str, reference: JsonReference) -> Grade:
    """Compare the last JSON value of a text, field by field; the order of keys does not matter.

    Strings are compared exactly, apart from their Unicode form; 1 equals 1.0, and true is no 1.
    """
    try:
        value = find_json(text)
    except (ValueError, RecursionError):
        return Grade("wrong", "There is no JSON in the answer.")
    try:
        difference = _find_difference(value, reference.value, "$")
    except RecursionError:
        return Grade("wrong", "The JSON in the answer is nested too deeply.")
    if difference:
        return Grade("wrong", difference)
    return Grade("right", "The JSON equals the reference.")


def _find_difference(found: Any, expected: Any, path: str) -> str:
    """Return a sentence on the first difference; empty for equal values."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return _compare_objects(found, expected, path)
    if isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            return f"`{path}` has {len(found)} items, not {len(expected)}."
        pairs = enumerate(zip(found, expected, strict=True))
        found_faults = (_find_difference(a, b, f"{path}[{at}]") for at, (a, b) in pairs)
        return next(filter(None, found_faults), "")
    if _is_equal_scalar(found, expected):
        return ""
    return f"`{path}` is {repr(found)[:_SHOWN_CHARS]}, not {repr(expected)[:_SHOWN_CHARS]}."


def _compare_objects(found: dict[str, Any], expected: dict[str, Any], path: str) -> str:
    if missing := [key for key in expected if key not in found]:
        return f"`{path}` has no `{missing[0][:_SHOWN_CHARS]}`."
    if further := [key for key in found if key not in expected]:
        return f"`{path}` has another key, `{further[0][:_SHOWN_CHARS]}`."
    faults = (_find_difference(found[key], expected[key], f"{path}.{key}") for key in expected)
    return next(filter(None, faults), "")


def _is_equal_scalar(found: Any, expected: Any) -> bool:
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, str) and isinstance(expected, str):
        return _normalize(found) == _normalize(expected)
    return bool(found == expected)


def _normalize(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
