"""The lines of a text in which most of what was looked for stands."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

MARK, UNMARK = "\x02", "\x03"  # around each match

Span = tuple[int, int]  # of characters, the end not included

_MAX_WORDS, _MAX_CHARS = 30, 300
_LEAD_WORDS = 5  # words before the first match
_MAX_MATCHES = 200  # matches in a text
_WORD = re.compile(r"\S+")
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def make_excerpt(texts: Sequence[str], matches: Sequence[Sequence[Span]]) -> str:
    """Return about 30 words of the text with most different matches nearby; the first of equals.

    `matches` are those in each of `texts`, in order. Control characters become blanks; a cut is
    an ellipsis. Without any match it is the beginning of the first text that is not blank.
    """
    windows = [_find_best_window(text, spans) for text, spans in zip(texts, matches, strict=True)]
    best = max(range(len(texts)), key=lambda place: windows[place][0])
    if not windows[best][0]:
        best = next((place for place, text in enumerate(texts) if text.strip()), best)
    _, start, end = windows[best]
    inside = [span for span in matches[best] if start <= span[0] and span[1] <= end]
    return _mark(texts[best], start, end, inside)


def _find_best_window(text: str, spans: Sequence[Span]) -> tuple[int, int, int]:
    """Return how many different matches the best window has, its start and its end."""
    starts = [word.start() for word in _WORD.finditer(text)]
    best = (0, *_make_window(text, starts, 0))
    some = spans[:_MAX_MATCHES]
    for begin, _ in some:
        start, end = _make_window(text, starts, begin)
        found = {text[a:b].lower() for a, b in some if start <= a and b <= end}
        if len(found) > best[0]:
            best = (len(found), start, end)
    return best


def _make_window(text: str, starts: Sequence[int], begin: int) -> Span:
    """Return the words around `begin`, which a very long word may cut."""
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
    said = re.sub(" +", " ", "".join(pieces)).strip()
    return f"{'… ' if text[:start].strip() else ''}{said}{' …' if text[end:].strip() else ''}"


def _replace_control_chars(text: str) -> str:
    return _CONTROL.sub(" ", text)
