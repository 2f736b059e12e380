"""Reasoning between tags in an answer's text. Sans-IO.

A server without a reasoning parser sends `<think>…</think>` as text. Tags count at the start, after
white space, and later only at the start of a line outside of code: an answer may mention them. A
template that writes the opening tag into the prompt leaves only the closing one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, Literal, NamedTuple

from service.llm.decoding.tags import (
    BLOCK,
    CLOSING_TAGS,
    LONGEST,
    PENDING_TAGS,
    TAGS,
    WITH_ATTRIBUTES,
    count_pending,
    find_tag,
)

ThinkTags = Literal["auto", "open", "off"]

_MOST_MENTIONS: Final = 16  # of opening tags in text; each is searched for the start of its line
_MOST_BLOCK_CHARS: Final = 1_048_576
_BLANK: Final = " \t\r\n\v\f\u00a0\u200b\u3000\ufeff"
_QUOTES: Final = tuple("`'\"“‘«")

# Models that always reason and whose template opens the tag.
# Sources: the chat templates of these models on Hugging Face
_OPENING_TEMPLATES: Final = re.compile(
    r"deepseek-r1(?!-0528-qwen3)|qwq|qwen3.*thinking|glm-z1|exaone-deep|olmo-3.*think|minimax-m[12]"
    r"|qvq|r1-distill",
    re.IGNORECASE,
)


class Split(NamedTuple):
    """A divided piece of text. `recalls`: the text before the piece is reasoning, too."""

    text: str
    reasoning: str = ""
    recalls: bool = False


class _State(Enum):
    START = auto()  # only white space so far, and perhaps a part of a tag
    REASONING = auto()
    TEXT = auto()


class ThinkTagSplitter:
    """Divides the text of one answer into reasoning and text.

    `mode` is `off`, `open` (the template has opened the tag: text is reasoning until a closing tag)
    or `auto`: `open` for models with such a template, else tags at the start are recognized, and a
    closing tag without an opening one recalls the text before it.
    """

    def __init__(self, mode: ThinkTags = "auto", model: str = "") -> None:
        if mode == "auto" and _OPENING_TEMPLATES.search(model):
            mode = "open"
        # Until a tag arrives: the text counts as reasoning if a closing tag follows.
        self.is_open = mode == "open"
        # Whether a piece without a bracket is text, so that it need not be divided.
        self.is_plain = mode == "off"
        self._may_recall = mode == "auto"
        self._mentions_left = 0 if mode == "off" else _MOST_MENTIONS
        self._block: list[str] = []  # text since a tag at the start of a later line
        self._block_chars = 0
        self._state = _State.TEXT if mode == "off" else _State.START
        self._closing: Sequence[str] = CLOSING_TAGS
        self._pending = ""
        self._is_after_reasoning = False
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._recalls = False

    def skip(self) -> None:
        """Stop looking for tags: the server reports reasoning in a field."""
        if self._state is _State.START or self.is_open:
            self._state = _State.TEXT
            self._may_recall = self.is_open = False
            self._mentions_left = 0

    def split(self, piece: str, before: Sequence[str]) -> Split:
        """Return the text and the reasoning that `piece` completes; a possible tag is pending.

        `before` is the text so far.
        """
        rest, self._pending = self._pending + piece, ""
        while rest:
            if self._state is _State.START:
                rest = self._take_start(rest)
            elif self._state is _State.REASONING:
                rest = self._take_reasoning(rest)
            else:
                rest = self._take_text(rest, before)
        self.is_plain = self._state is _State.TEXT and not self._pending
        return self._take_split()

    def end(self, *, is_cut_off: bool = False) -> Split:
        """Return the pending rest at the end of the answer.

        A tag at the start of a later line that is never closed was a mention, unless the answer
        was cut off: then its text is returned.
        """
        rest, self._pending = self._pending, ""
        if self._state is _State.REASONING:
            self._add_thought(rest)
            if not is_cut_off:
                self._texts += self._block
        elif not (self._is_after_reasoning and rest.isspace()):
            self._texts.append(rest)
        return self._take_split()

    def _take_split(self) -> Split:
        split = Split("".join(self._texts), "".join(self._thoughts), self._recalls)
        self._texts, self._thoughts, self._recalls = [], [], False
        return split

    def _take_start(self, rest: str) -> str:
        """Take an opening tag, and return the text after it."""
        start = rest.lstrip(_BLANK)
        lowered = start[:LONGEST].lower()
        for opening, closing in TAGS.items():
            if lowered.startswith(opening):
                self._open(closing)
                return start[len(opening) :]
        found = WITH_ATTRIBUTES.match(start)
        if found and found[2]:
            self._open(f"</{found[1].lower()}>")
            rest = start[found.end() :]
            return self._close(rest) if found[0].endswith("/>") else rest
        is_incomplete = found is not None and found.end() == len(start)
        if is_incomplete or any(opening.startswith(lowered) for opening in TAGS):
            self._pending = rest
            return ""
        if self.is_open:
            self._state = _State.REASONING
            return rest
        self._state = _State.TEXT
        return start if self._is_after_reasoning else rest

    def _open(self, closing: str) -> None:
        self._state, self._closing, self.is_open = _State.REASONING, (closing,), False

    def _take_reasoning(self, rest: str) -> str:
        """Take reasoning and the closing tag, and return the text after it."""
        at, tag = find_tag(rest, self._closing)
        if not tag:
            at = len(rest) - count_pending(rest, self._closing)
            self._add_thought(rest[:at])
            self._pending = rest[at:]
            return ""
        self._add_thought(rest[:at])
        return self._close(rest[at + len(tag) :])

    def _add_thought(self, text: str) -> None:
        self._thoughts.append(text)
        if self._block and self._block_chars < _MOST_BLOCK_CHARS:
            self._block.append(text)
            self._block_chars += len(text)

    def _take_text(self, rest: str, before: Sequence[str]) -> str:
        """Take text; after a closing tag that recalls it, return the text after the tag."""
        may_have_tag = self._may_recall and ("</" in rest or "[/" in rest)  # 20 times faster
        at, tag = find_tag(rest, CLOSING_TAGS) if may_have_tag else (0, "")
        if block := self._find_block(rest[:at] if tag else rest, before):
            return self._open_block(rest, block)
        if tag and self._is_end_of_reasoning("".join([*before, *self._texts, rest[:at]])):
            self._thoughts += [*self._texts, rest[:at]]
            self._texts, self._recalls = [], True
            return self._close(rest[at + len(tag) :])
        self._may_recall = self._may_recall and not tag
        tags = PENDING_TAGS[self._may_recall, self._mentions_left > 0]
        at = len(rest) - count_pending(rest, tags)
        self._texts.append(rest[:at])
        self._pending = rest[at:]
        return ""

    def _find_block(self, text: str, before: Sequence[str]) -> re.Match[str] | None:
        """Return an opening tag at the start of a line, outside of code."""
        if not (self._mentions_left and ("<" in text or "[" in text)):
            return None
        for found in BLOCK.finditer(text):
            start = "".join([*before, *self._texts, text[: found.start()]])
            if not start.rpartition("\n")[2].strip() and start.count("```") % 2 == 0:
                return found
            self._mentions_left -= 1
            if not self._mentions_left:
                break
        return None

    def _open_block(self, rest: str, tag: re.Match[str]) -> str:
        """Take the text before a tag that opens reasoning, and return the text after it."""
        self._texts.append(rest[: tag.start()])
        self._open(f"</{tag[1].lower()}>" if tag[1] else "[/think]")
        self._block = [tag[0]]
        return rest[tag.end() :]

    def _is_end_of_reasoning(self, text: str) -> bool:
        """Return whether a closing tag after `text` ends it, instead of being mentioned in it."""
        mentions_tag = any(opening in text.lower() for opening in TAGS)
        return not (mentions_tag or text.endswith(_QUOTES) or text.count("```") % 2)

    def _close(self, rest: str) -> str:
        self._state, self._is_after_reasoning = _State.START, True
        self._may_recall = self.is_open = False
        self._block = []
        return rest
