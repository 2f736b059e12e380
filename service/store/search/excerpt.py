"""Excerpts of a text around the matches of a search."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

MARK, UNMARK = "\x02", "\x03"  # around each match

Span = tuple[int, int]  # start and end in characters; the end is exclusive

_MAX_WORDS, _MAX_CHARS = 30, 300
_LEAD_WORDS = 5  # words before the first match
_LEAD_CHARS = _MAX_CHARS // 3
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
    """Return the number of different matches in the best window, its start and its end.

    Reads only the surroundings of matches, since a text can have many thousand words.
    """
    considered = spans[:_MAX_MATCHES]
    if not considered:
        first = _WORD.search(text)
        return (0, *_make_window(text, first.start() if first else 0))
    begins = [begin for begin, _ in considered]
    found = [text[begin:end].lower() for begin, end in considered]
    most = len(set(found))
    best = (0, 0, 0)
    for begin in begins:
        start, end = _make_window(text, begin)
        inside = range(bisect_left(begins, start), bisect_left(begins, end))
        different = len({found[at] for at in inside if considered[at][1] <= end})
        if different > best[0]:
            best = (different, start, end)
        if different == most:
            break
    return best


def _make_window(text: str, begin: int) -> Span:
    """Return the span of the words around `begin`, cut to 300 characters."""
    start = _find_start(text, begin)
    words = list(_WORD.finditer(text, start, start + _MAX_CHARS))
    end = words[_MAX_WORDS].start() if len(words) > _MAX_WORDS else start + _MAX_CHARS
    return start, min(end, len(text))


def _find_start(text: str, begin: int) -> int:
    """Return the start of the fifth word before `begin`, at most 100 characters before it."""
    earliest = max(0, begin - _LEAD_CHARS)
    starts = [word.start() for word in _WORD.finditer(text, earliest, begin + 1)]
    return starts[-_LEAD_WORDS - 1] if len(starts) > _LEAD_WORDS else earliest


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
    is_first, is_last = not text[:start].strip(), not text[end:].strip()
    return f"{'' if is_first else '… '}{excerpt}{'' if is_last else ' …'}"


def _replace_control_chars(text: str) -> str:
    return _CONTROL.sub(" ", text)
