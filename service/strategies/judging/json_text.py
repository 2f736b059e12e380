"""JSON in a model's text: in code fences, between prose, with trailing commas. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_FENCE = re.compile(r"```[\w-]*\s*\n?(.*?)```", re.S)
_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])', re.S)
_MOST_STARTS = 50  # brackets at which a value is tried; a text of brackets alone would take long
_MOST_CHARS = 200_000
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "\u00a0": " "})


def find_json(text: str) -> Any:
    """Return the last JSON object or array in `text`; fences come before prose.

    The last one, because models think first. Raises ValueError when there is none.
    """
    text = text[-_MOST_CHARS:].strip()
    for candidate in (text, *reversed(_FENCE.findall(text)), *_outer_values(text)):
        for variant in (candidate, _drop_trailing_commas(candidate.translate(_QUOTES))):
            try:
                value = json.loads(variant)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict | list):
                return value
    raise ValueError("there is no JSON in it")


def _outer_values(text: str) -> Iterator[str]:
    """Yield the texts between matching outer brackets, the last one first."""
    found: list[str] = []
    at = starts = 0
    while starts < _MOST_STARTS and (start := _find_bracket(text, at)) >= 0:
        starts += 1
        end = _find_end(text, start)
        if end:
            found.append(text[start:end])
        at = end or start + 1
    yield from reversed(found)


def _find_bracket(text: str, at: int) -> int:
    places = [place for mark in "{[" if (place := text.find(mark, at)) >= 0]
    return min(places, default=-1)


def _find_end(text: str, start: int) -> int:
    """Return the position after the value that starts at `start`; 0 if it does not end."""
    depth, is_string, is_escaped = 0, False, False
    for at in range(start, len(text)):
        char = text[at]
        if is_string:
            is_string = is_escaped or char != '"'
            is_escaped = char == "\\" and not is_escaped
        elif char == '"':
            is_string = True
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if not depth:
                return at + 1
    return 0


def _drop_trailing_commas(text: str) -> str:
    return _STRING_OR_COMMA.sub(lambda found: "" if found[0] == "," else found[0], text)
