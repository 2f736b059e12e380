"""Reasoning between tags at the start of an answer's text. Sans-IO.

A server without a reasoning parser sends `<think>…</think>` as text. Tags count only at the start,
after white space: an answer may mention them later. A template that writes the opening tag into
the prompt leaves only the closing one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Final, Literal, NamedTuple

ThinkTags = Literal["auto", "open", "off"]

# Opening and closing tags, in lower case.
_TAGS: Final = {
    "<think>": "</think>",  # DeepSeek, Qwen, GLM, MiniMax, Nemotron, Phi, SmolLM, Hunyuan
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # Gemini, EXAONE
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker, Sky-T1
    "[think]": "[/think]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi-VL
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
_CLOSING_TAGS: Final = ("</think>", "</thinking>", "</thought>", "</seed:think>", "[/think]")
_LONGEST: Final = max(map(len, [*_TAGS, *_TAGS.values()]))
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
        self._state = _State.TEXT if mode == "off" else _State.START
        self._closing: Sequence[str] = _CLOSING_TAGS
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

    def end(self) -> Split:
        """Return the pending rest at the end of the answer."""
        rest, self._pending = self._pending, ""
        if self._state is _State.REASONING:
            self._thoughts.append(rest)
        elif not (self._is_after_reasoning and rest.isspace()):
            self._texts.append(rest)
        return self._take_split()

    def _take_split(self) -> Split:
        split = Split("".join(self._texts), "".join(self._thoughts), self._recalls)
        self._texts, self._thoughts, self._recalls = [], [], False
        return split

    def _take_start(self, rest: str) -> str:
        """Take an opening tag, and return the text after it."""
        start = rest.lstrip()
        lowered = start[:_LONGEST].lower()
        for opening, closing in _TAGS.items():
            if lowered.startswith(opening):
                self._state, self._closing, self.is_open = _State.REASONING, (closing,), False
                return start[len(opening) :]
        if any(opening.startswith(lowered) for opening in _TAGS):
            self._pending = rest
            return ""
        if self.is_open:
            self._state = _State.REASONING
            return rest
        self._state = _State.TEXT
        return start if self._is_after_reasoning else rest

    def _take_reasoning(self, rest: str) -> str:
        """Take reasoning and the closing tag, and return the text after it."""
        at, tag = _find_tag(rest, self._closing)
        if not tag:
            at = len(rest) - _count_pending(rest, self._closing)
            self._thoughts.append(rest[:at])
            self._pending = rest[at:]
            return ""
        self._thoughts.append(rest[:at])
        return self._close(rest[at + len(tag) :])

    def _take_text(self, rest: str, before: Sequence[str]) -> str:
        """Take text; after a closing tag that recalls it, return the text after the tag."""
        may_have_tag = self._may_recall and ("</" in rest or "[/" in rest)  # 20 times faster
        at, tag = _find_tag(rest, _CLOSING_TAGS) if may_have_tag else (0, "")
        if tag and self._is_end_of_reasoning("".join([*before, *self._texts, rest[:at]])):
            self._thoughts += [*self._texts, rest[:at]]
            self._texts, self._recalls = [], True
            return self._close(rest[at + len(tag) :])
        self._may_recall = self._may_recall and not tag
        at = len(rest) - (_count_pending(rest, _CLOSING_TAGS) if self._may_recall else 0)
        self._texts.append(rest[:at])
        self._pending = rest[at:]
        return ""

    def _is_end_of_reasoning(self, text: str) -> bool:
        """Return whether a closing tag after `text` ends it, instead of being mentioned in it."""
        mentions_tag = any(opening in text.lower() for opening in _TAGS)
        return not (mentions_tag or text.endswith(_QUOTES) or text.count("```") % 2)

    def _close(self, rest: str) -> str:
        self._state, self._is_after_reasoning = _State.START, True
        self._may_recall = self.is_open = False
        return rest


def _find_tag(text: str, tags: Sequence[str]) -> tuple[int, str]:
    """Return the place of the first of `tags` in `text`, and the tag; (0, "") without one."""
    found = _compile(tuple(tags)).search(text)
    return (found.start(), found[0]) if found else (0, "")


@lru_cache(maxsize=32)
def _compile(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tags)), re.IGNORECASE)


def _count_pending(text: str, tags: Sequence[str]) -> int:
    """Return the number of characters at the end of `text` that may be the start of a tag."""
    end = text[-_LONGEST:].lower()
    lengths = range(min(len(end), max(map(len, tags)) - 1), 0, -1)
    return next((n for n in lengths if any(tag.startswith(end[-n:]) for tag in tags)), 0)
