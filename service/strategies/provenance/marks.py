"""Marks in a stream of text: removed at any split into pieces, and recorded with their positions.

The writer is asked for marks such as ⟦1,3⟧ after each statement: the numbers of the answers that it
rests on. ⟦dissent 2: text⟧ names a statement of an answer that it does not follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

# Pairs of brackets, of which one is chosen that no text of the prompt contains.
_BRACKETS = ("⟦⟧", "⟪⟫", "⦃⦄", "⟬⟭")
_MOST_CHARS = 500  # of a mark; a longer bracket is text
_BLANKS = " \t\u00a0"
_NUMBERS = re.compile(r"\s*\d{1,3}(?:\s*[,;&+ ]\s*\d{1,3})*\s*")
_DISSENT = re.compile(r"\s*dissent\s+(\d{1,3})\s*[:,-]\s*(.+?)\s*", re.I | re.S)


def choose_brackets(texts: Sequence[str]) -> str:
    """Return a pair of brackets that occurs in none of `texts`."""
    used = "".join(texts)
    free = (pair for pair in _BRACKETS if pair[0] not in used and pair[1] not in used)
    return next(free, _BRACKETS[0])


@dataclass(slots=True)
class MarkFilter:
    """Removes marks from a text that arrives in pieces, together with the blanks before them.

    `marks` are pairs of a position in the clean text and the numbers before it; `dissents` are
    numbers with their statements; `length` is the clean text's so far.
    """

    brackets: str
    marks: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    dissents: list[tuple[int, str]] = field(default_factory=list)
    length: int = 0
    _held: str = ""  # blanks and a bracket that may be the start of a mark
    _is_line_start: bool = True
    _skips_blanks: bool = False

    def feed(self, piece: str) -> str:
        """Return the text that is certain after the next piece."""
        self._held += piece
        clean: list[str] = []
        while self._held and (self._take_text(clean) or self._take_mark(clean)):
            pass
        return "".join(clean)

    def finish(self) -> str:
        """Return the rest at the end of the text: a mark that was not closed is text."""
        rest, self._held = self._held, ""
        return self._pass_on(rest)

    def _take_text(self, clean: list[str]) -> bool:
        """Pass on the text before the next bracket, except for blanks at its end."""
        if self._skips_blanks:
            self._held = self._held.lstrip(_BLANKS)
        at = self._held.find(self.brackets[0])
        end = len(self._held[: at if at >= 0 else None].rstrip(_BLANKS))
        clean.append(self._pass_on(self._held[:end]))
        self._held = self._held[end:]
        return end > 0

    def _take_mark(self, clean: list[str]) -> bool:
        """Remove a complete mark, or pass on a bracket that is none; False: neither is certain."""
        start = self._held.find(self.brackets[0])
        if start < 0:
            return False
        end = self._held.find(self.brackets[1], start)
        content = self._held[start + 1 : end if end >= 0 else None]
        if end < 0 and len(content) < _MOST_CHARS and _may_be_mark(content):
            return False
        if end >= 0 and len(content) < _MOST_CHARS and self._record(content):
            self._held = self._held[end + 1 :]
            self._skips_blanks = self._is_line_start
        else:
            clean.append(self._pass_on(self._held[: start + 1]))
            self._held = self._held[start + 1 :]
        return True

    def _record(self, content: str) -> bool:
        """Record the content of a mark; return whether it is one."""
        if dissent := _DISSENT.fullmatch(content):
            self.dissents.append((int(dissent[1]), dissent[2]))
        elif _NUMBERS.fullmatch(content):
            numbers = tuple(int(each) for each in re.findall(r"\d+", content))
            self.marks.append((self.length, numbers))
        else:
            return False
        return True

    def _pass_on(self, text: str) -> str:
        self.length += len(text)
        if text:
            self._is_line_start = text.endswith("\n")
            self._skips_blanks = False
        return text


def _may_be_mark(content: str) -> bool:
    """Return whether the content of a mark can start like this."""
    start = content.lstrip()[: len("dissent")].lower()
    return "dissent".startswith(start) or not content.strip("0123456789,;&+ ")
