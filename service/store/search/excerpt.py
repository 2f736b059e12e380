"""Excerpts of a text around the matches of a search."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

MARK, UNMARK = "\x02", "\x03"  # around each match

Span = tuple[int, int]  # start and end in characters; the end is exclusive

_MAX_WORDS, _MAX_CHARS = 30, 300
_LEAD_WORDS = 5  # words before the first match
_MAX_MATCHES = 200  # considered in a text
_WORD = re.compile(r"\S+")
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def make_excerpt(texts: Sequence[str], matches: Sequence[Sequence[Span]]) -> str:
    """Return about 30 words around the place with the most different matches, the first of equals.

    `matches` holds the spans in each of `texts`, in order. Control characters become spaces, and
    an ellipsis marks a cut. Without a match, return the start of the first text that is not blank.
    """
    windows = [_find_best_window(text, spans) for text, spans in zip(texts, matches, strict=True)]
    best = max(range(len(texts)), key=lambda place: windows[place][0])
    if not windows[best][0]:
        best = next((place for place, text in enumerate(texts) if text.strip()), best)
    _, start, end = windows[best]
    inside = [span for span in matches[best] if start <= span[0] and span[1] <= end]
    return _mark(texts[best], start, end, inside)


def _find_best_window(text: str, spans: Sequence[Span]) -> tuple[int, int, int]:
    """Return the number of different matches in the best window, its start and its end."""
    starts = [word.start() for word in _WORD.finditer(text)]
    best = (0, *_make_window(text, starts, 0))
    considered = spans[:_MAX_MATCHES]
    for begin, _ in considered:
        start, end = _make_window(text, starts, begin)
        found = {text[a:b].lower() for a, b in considered if start <= a and b <= end}
        if len(found) > best[0]:
            best = (len(found), start, end)
    return best


def _make_window(text: str, starts: Sequence[int], begin: int) -> Span:
    """Return the span of the words around `begin`, cut to 300 characters."""
    if not starts:
        return 0, 0
    first = max(0, bisect_right(starts, begin) - 1 - _LEAD_WORDS)
    start = max(starts[first], begin - _MAX_CHARS // 3)
    after = first + _MAX_WORDS
    end = starts[after] if after < len(starts) else len(text)
    return start, min(end, start + _MAX_CHARS)


def _mark(text: str, start: int, end: int, spans: Sequence[Span]) -> str:
    pieces, place = [], start
    for begin, stop in spans:
        pieces += [
            _replace_control_chars(text[place:begin]),
            MARK,
            _replace_control_chars(text[begin:stop]),
            UNMARK,
        ]
        place = stop
    pieces.append(_replace_control_chars(text[place:end]))
    excerpt = re.sub(" +", " ", "".join(pieces)).strip()
    return f"{'… ' if text[:start].strip() else ''}{excerpt}{' …' if text[end:].strip() else ''}"


def _replace_control_chars(text: str) -> str:
    return _CONTROL.sub(" ", text)
