"""The join of a text that broke off and its continuation, which may repeat the end of the text.

Sans-IO. A model that continues a text may start with the last words, the last sentence or all of
it. The repetition is removed; a text that repeats words on purpose ("very, very") is not changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MOST_OVERLAP_CHARS: Final = 20_000  # besides a repetition of the complete text
_LEAST_LETTERS = 2  # of a single repeated word: "1" and "1" may be the number 11
_LEAST_LETTERS_IN_WORD = 5  # of a repetition that starts within a word
_LEAST_UNSPACED = 2  # characters of scripts without spaces, such as Chinese
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$", re.MULTILINE)
_OPENING_FENCE = re.compile(r"\s*(`{3,}|~{3,})[ \t]*(\S+)[ \t]*\n")
# A text that ends with the marker of a list item or a heading.
_MARKER = re.compile(r"(?:^|\n)[ \t]*([-*+]|\d+[.)]|#+)[ \t]*$")
_SPACES = re.compile(r"\s+")
# Thai and Lao, Burmese, Khmer, and the scripts of Chinese and Japanese.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]$"
)
_LONGEST_UNIT = 60  # characters of a pattern that the continuation may show
_CHECK_EACH = 500  # at most that part of the pending text is retained longer than necessary


class OverlapTrimmer:
    """Removes from a continuation what it repeats of `text`, the text before it.

    Pieces are retained only while they may be a repetition.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._whole = _collapse(text).strip()
        self._fence = find_open_fence(text)
        self._pending: str | None = ""  # None: decided
        self._next_check = 0  # in characters: to check a long text after each token takes too long

    def feed(self, piece: str) -> str:
        """Return the text to add now, without a repetition."""
        if self._pending is None:
            return piece
        self._pending += piece
        if len(self._pending) < self._next_check:
            return ""
        self._next_check = len(self._pending) + len(self._pending) // _CHECK_EACH
        return "" if self._may_repeat_more(self._pending) else self._decide()

    def finish(self) -> str:
        """Return the rest at the end of the continuation."""
        return "" if self._pending is None else self._decide()

    def _decide(self) -> str:
        pending, self._pending = self._pending or "", None
        return join_continuation(self._text, pending)

    def _may_repeat_more(self, pending: str) -> bool:
        """Return whether more of the continuation can change what is a repetition."""
        if self._fence and _may_be_fence(pending, self._fence):
            return True
        rest = _skip_fence(pending, self._fence)
        start = _collapse(rest).strip()
        if not start:
            return len(pending) < MOST_OVERLAP_CHARS
        if start in self._whole[-MOST_OVERLAP_CHARS:] or self._whole.startswith(start):
            return True
        overlap = len(_collapse(rest[: _find_overlap_end(self._text, rest)]).strip())
        return len(start) < _find_needed_chars(overlap)


def join_continuation(text: str, continuation: str) -> str:
    """Return the part of `continuation` to add to `text`."""
    rest = _skip_fence(continuation, find_open_fence(text))
    at = _find_overlap_end(text, rest)
    if at == 0:
        return _join_spaces(text, rest)
    return _continue_spaces(text, rest[at:])


def find_open_fence(text: str) -> str | None:
    """Return the language of the fenced code block that `text` ends in, None outside of one."""
    mark, language = "", ""
    for found in _FENCE.finditer(text):
        if not mark:
            mark, language = found[1], found[2]
        elif found[1].startswith(mark) and not found[2]:
            mark, language = "", ""
    return language if mark else None


def _skip_fence(continuation: str, fence: str | None) -> str:
    """Return `continuation` without a line that opens the code block again that is open."""
    if fence and (found := _OPENING_FENCE.match(continuation)) and found[2] == fence:
        return continuation[found.end() :]
    return continuation


def _may_be_fence(pending: str, fence: str) -> bool:
    start = pending.lstrip()
    return "\n" not in start and any(f"{mark}{fence}".startswith(start) for mark in ("```", "~~~"))


def _find_overlap_end(text: str, continuation: str) -> int:
    """Return the number of characters of `continuation` that repeat the end of `text`."""
    whole, start = _collapse(text).strip(), _collapse(continuation).strip()
    if not whole or not start:
        return 0
    if len(whole) > MOST_OVERLAP_CHARS and start.startswith(whole):
        return _find_raw_end(continuation, whole)
    marker = _MARKER.search(text)
    if marker and start.startswith(f"{marker[1]} "):
        return _find_raw_end(continuation, marker[1])
    is_new_word = text[-1:].isspace() or continuation[:1].isspace()
    for length in _find_borders(whole[-MOST_OVERLAP_CHARS:], start[:MOST_OVERLAP_CHARS]):
        ends_in_word = _is_letter(start[length - 1]) and _is_letter(start[length : length + 1])
        if start[:length].isalnum() and ends_in_word and is_new_word:
            continue  # "the", and then "they"
        if _is_repetition(whole, length, start):
            return _find_raw_end(continuation, start[:length])
    return 0


def _find_needed_chars(overlap: int) -> int:
    """Return how much of a continuation shows whether an overlap is a pattern."""
    return 2 * overlap + 2 if 0 < overlap <= _LONGEST_UNIT else overlap


def _is_repetition(whole: str, length: int, start: str) -> bool:
    """Return whether the last `length` characters are repeated by mistake if they are repeated.

    Not if they are too short, or a pattern that the text, or the continuation at its `start`, has
    twice in a row.
    """
    overlap, before = whole[-length:], whole[: len(whole) - length][-1:]
    if _is_unspaced(overlap):
        is_evident = length >= _LEAST_UNSPACED
    else:
        is_at_word = not (_is_letter(before) and _is_letter(overlap[0]))
        letters = sum(map(str.isalpha, overlap))
        is_evident = letters >= _LEAST_LETTERS_IN_WORD or (
            is_at_word and (" " in overlap or letters >= _LEAST_LETTERS)
        )
    return is_evident and not _is_pattern(
        f"{whole}\0{start[: _find_needed_chars(length)]}", overlap
    )


def _is_pattern(whole: str, overlap: str) -> bool:
    """Return whether the smallest unit of `overlap` occurs twice in a row in `whole`."""
    for separator in (" ", ""):
        unit = _find_unit(overlap + separator)
        if f"{unit}{unit}".strip() in whole:
            return True
    return False


def _find_unit(text: str) -> str:
    """Return the shortest text of which `text` consists, `text` itself if it is not repeated."""
    at = (text + text).find(text, 1)
    return text[:at]


def _find_borders(text: str, start: str) -> Iterator[int]:
    """Yield the lengths, longest first, at which the end of `text` equals the start of `start`.

    Source: the prefix function of Knuth, Morris and Pratt.
    """
    joined = f"{start}\0{text}"
    borders = [0] * len(joined)
    length = 0
    for at in range(1, len(joined)):
        while length and joined[at] != joined[length]:
            length = borders[length - 1]
        length += joined[at] == joined[length]
        borders[at] = length
    while length:
        yield length
        length = borders[length - 1]


def _find_raw_end(continuation: str, overlap: str) -> int:
    """Return where `overlap`, whose spaces are collapsed, ends in `continuation`."""
    at = len(continuation) - len(continuation.lstrip())
    for char in overlap:
        if char == " ":
            while continuation[at].isspace():
                at += 1
        else:
            at += 1
    return at


def _join_spaces(text: str, continuation: str) -> str:
    """Return a continuation without the white space that `text` ends with already.

    A single line break is retained: a blank line may be meant.
    """
    spaces = text[len(text.rstrip()) :]
    if spaces and spaces != "\n" and continuation.startswith(spaces):
        return continuation[len(spaces) :]
    return continuation


def _continue_spaces(text: str, rest: str) -> str:
    """Return `rest`, which follows a repetition, without white space that `text` ends with."""
    before, word = text[len(text.rstrip()) :], rest.lstrip()
    after = rest[: len(rest) - len(word)]
    if after.startswith(before):
        return rest[len(before) :]
    return rest if after.count("\n") > before.count("\n") else word


def _collapse(text: str) -> str:
    return _SPACES.sub(" ", text)


def _is_letter(char: str) -> bool:
    return char.isalnum() and not _is_unspaced(char)


def _is_unspaced(text: str) -> bool:
    """Return whether `text` ends with a script without spaces, such as Chinese or Thai."""
    return bool(_UNSPACED.search(text))
