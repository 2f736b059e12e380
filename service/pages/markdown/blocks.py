"""A growing Markdown text as blocks: each is rendered once when it is complete.

To render the complete text for every token would cost its square. The text is divided at empty
lines between which CommonMark allows no construct to continue, so that a block never changes after
its end. A block that becomes too long (one table, one line of code) is divided too: the work for a
token, and for a browser that shows it, stays bounded whatever a model sends. The division is a
function of the text alone, not of the pieces in which it arrives: block number n of a text is the
same for every reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from markupsafe import Markup

MAX_BLOCK_CHARS: Final = 6_000
COLOURED_CHARS: Final = 100_000  # of one text: a browser needs an element for each coloured word
# Of one text; the rest is shown as written. Each may become an element: a table of a megabyte had
# 300,000 of them, took 200 MB of a browser and frames of two seconds.
FORMATTED_MARKS: Final = 60_000
_MARKS: Final = "|*_`[~<"
_NESTING_MARKS: Final = ">-+.)"  # at the start of a line
_NESTING = re.compile(r"[\s\d>+*.)-]*")

_FENCE = re.compile(
    r" {0,3}(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*(?P<mark>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)"
)
_LIST_ITEM = re.compile(r" {0,3}(?:[-+*]|\d{1,9}[.)])(?:[ \t]|$)")
_TABLE_RULE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*$")


class MarkdownBlocks:
    """The blocks of one text, which arrives in pieces.

    `count` is the number of complete blocks, `length` that of the characters so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self.length = 0
        self._references: dict[str, Any] = {}
        self._taken = 0  # characters of the complete blocks
        self._marks = 0  # marks outside of code, with one for each line
        self._line = ""  # without its end so far
        self._block = ""  # complete lines of the open block
        self._start = ""  # lines that a divided block starts with again
        self._fence = ""
        self._is_list = False
        self._is_after_empty_line = False

    def add(self, text: str) -> Iterator[str]:
        """Add a piece; yield the HTML of each block that is complete now."""
        for source in self._divide(text):
            yield self._close(source)

    def skip(self, text: str) -> None:
        """Add a piece that the reader has received: its blocks are counted, not rendered."""
        for _ in self._divide(text):
            self.count += 1

    def render_open(self) -> str:
        """Return the HTML of the text behind the complete blocks; "" if there is none."""
        return self._render(self._open, dict(self._references)) if self._open.strip() else ""

    @property
    def _is_formatted(self) -> bool:
        return self._marks <= FORMATTED_MARKS

    @property
    def _open(self) -> str:
        return f"{self._start}{self._block}{self._line}" if self._block or self._line else ""

    def _close(self, source: str) -> str:
        self.count += 1
        return self._render(source, self._references)

    def _render(self, source: str, references: dict[str, Any]) -> str:
        # Imported here: Markdown and colours take 50 ms, needed only for a page with an answer.
        from service.pages.markdown.rendering import render_fragment, render_plain

        if not self._is_formatted:
            return render_plain(source)
        return render_fragment(source, references, is_coloured=self._taken < COLOURED_CHARS)

    def _divide(self, text: str) -> Iterator[str]:
        """Yield the source of each block that `text` completes."""
        self.length += len(text)
        first, *rest = text.replace("\r", "").split("\n")
        yield from self._extend_line(first)
        for piece in rest:
            yield from self._end_line()
            yield from self._extend_line(piece)

    def _extend_line(self, piece: str) -> Iterator[str]:
        self._line += piece
        while len(self._line) > MAX_BLOCK_CHARS:
            cut = self._line.rfind(" ", MAX_BLOCK_CHARS // 2, MAX_BLOCK_CHARS) + 1
            cut = cut or MAX_BLOCK_CHARS
            yield from self._add_line(self._line[:cut])
            self._line = self._line[cut:]
            yield from self._take()

    def _end_line(self) -> Iterator[str]:
        line, self._line = self._line, ""
        yield from self._add_line(line)
        if len(self._block) > MAX_BLOCK_CHARS:
            start = self._find_start()
            yield from self._take()
            self._start = start

    def _add_line(self, line: str) -> Iterator[str]:
        if self._is_after_empty_line and self._starts_block(line):
            yield from self._take()
        self._is_after_empty_line = not line.strip()
        if self._is_after_empty_line and not self._block and not self._fence:
            self._start = ""  # nothing of the divided block follows
        self._is_list = self._is_list or (not self._fence and bool(_LIST_ITEM.match(line)))
        self._note_fence(line)
        if not self._fence:
            self._marks += _count_marks(line)
        self._block += f"{line}\n"

    def _take(self) -> Iterator[str]:
        """End the open block."""
        source, self._block = f"{self._start}{self._block}", ""
        self._start = f"{self._fence}\n" if self._fence and self._is_formatted else ""
        self._is_list = self._is_after_empty_line = False
        self._taken += len(source)
        if source.strip():
            yield source

    def _starts_block(self, line: str) -> bool:
        """Return whether nothing before the empty line can continue with `line`."""
        if self._fence or not line.strip() or line[0] in " \t":
            return False
        return not (self._is_list and _LIST_ITEM.match(line))

    def _note_fence(self, line: str) -> None:
        found = _FENCE.match(line)
        if not self._fence:
            self._fence = f"{found['mark']}{found['info'][:100]}" if found else ""
            return
        opened = _FENCE.match(self._fence)
        bare = line.strip()
        if found and opened and bare == found["mark"] and bare.startswith(opened["mark"]):
            self._fence = ""

    def _find_start(self) -> str:
        """Return the lines with which the rest of the open block starts: those of a table."""
        head, _, more = f"{self._start}{self._block}".partition("\n")
        rule = more.partition("\n")[0]
        is_table = "|" in head and _TABLE_RULE.match(rule) and len(head) + len(rule) < 1_000
        if not self._is_formatted:
            return ""
        if self._fence or self._is_after_empty_line or not is_table:
            return f"{self._fence}\n" if self._fence else ""
        return f"{head}\n{rule}\n"


def _count_marks(line: str) -> int:
    found = _NESTING.match(line)
    nesting = found[0] if found else ""
    return 1 + sum(map(line.count, _MARKS)) + sum(map(nesting.count, _NESTING_MARKS))


def render_blocks(text: str) -> list[str]:
    """Return a complete text as the HTML of its blocks, the same as while it arrived."""
    blocks = MarkdownBlocks()
    complete = [*blocks.add(text)]
    rest = blocks.render_open()
    return [*complete, rest] if rest else complete


def render_markdown(text: str) -> Markup:
    """Return a complete text as HTML that is safe to show."""
    return Markup("".join(render_blocks(text)))  # noqa: S704  (cleaned by render_fragment)
