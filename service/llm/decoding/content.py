"""The content of one answer: text, reasoning and tool calls, joined from their pieces. Sans-IO."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from service.domain import ToolCall
from service.errors import BadStream, UpstreamError
from service.llm.decoding.think_tags import Split, ThinkTagSplitter
from service.llm.decoding.tool_calls import ToolCallReader
from service.llm.surrogates import SurrogateJoiner

MAX_ANSWER_CHARS: Final = 4_194_304
_PIECE_CHARS: Final = 32  # counted for each piece of a tool call, which takes memory even if empty
MAX_REASONING_CHARS: Final = 1_048_576  # more is dropped: it does not fail the answer


class Added(NamedTuple):
    """Content that one `Reply.take` added. `error` is the failure that stopped it.

    `has_tokens` is also set for tokens of reasoning without text, such as encrypted ones.
    `recalls`: the text of earlier calls was reasoning, too, which `reasoning` repeats.
    """

    text: str
    calls: Sequence[ToolCall]
    has_tokens: bool
    error: UpstreamError | None
    reasoning: str = ""
    recalls: bool = False


class Content:
    """The pieces of one answer. `thoughts` are those of reasoning, `calls` those of tool calls.

    `is_recalled`: text that arrived before was moved to `thoughts`. The methods raise BadStream for
    an answer of more than MAX_ANSWER_CHARS.
    """

    def __init__(self, tags: ThinkTagSplitter | None = None) -> None:
        self.parts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self.is_recalled = False
        self._tags = tags or ThinkTagSplitter()
        self._chars = 0
        self._reasoning_chars = 0
        self._joiner = SurrogateJoiner()
        self._thought_joiner = SurrogateJoiner()
        self._call_reader = ToolCallReader()

    def add_text(self, text: str, model: str) -> None:
        """Add text, which may have tags of reasoning."""
        joiner = self._joiner
        if joiner.pending or not text.isascii() or "\0" in text:
            text = joiner.join(text)
        # Nearly always, so without further calls.
        if text and self._tags.is_plain and "<" not in text and "[" not in text:
            self.parts.append(text)
            self._chars += len(text)
            if self._chars > MAX_ANSWER_CHARS:
                self._count_chars(0, model)
        else:
            self._add_split(self._tags.split(text, self.parts), model)

    def append_plain(self, text: str) -> bool:
        """Add text without half characters if nothing in it can be a tag; return whether it did."""
        chars = self._chars + len(text)
        if (
            "<" in text
            or "[" in text
            or "\0" in text
            or self._joiner.pending
            or not self._tags.is_plain
            or chars > MAX_ANSWER_CHARS
        ):
            return False
        self.parts.append(text)
        self._chars = chars
        return True

    def add_reasoning(self, text: str) -> None:
        """Add reasoning that the server sent in a field of its own, so not as tagged text."""
        self._tags.skip()
        self._append_reasoning(self._thought_joiner.join(text))

    def add_calls(self, tool_calls: Any, function_call: Any, model: str) -> None:
        """Add the pieces of tool calls in a message's fields."""
        if tool_calls:
            self._append_calls(self._call_reader.read(tool_calls), model)
        if function_call:
            self._append_calls(self._call_reader.read_legacy(function_call), model)

    def finish(self, model: str, *, is_cut_off: bool = False, is_complete: bool = True) -> None:
        """Add what is pending: halves of characters, possible tags, arguments never sent.

        A half character at the end is left out unless the answer is complete.
        """
        self._append_reasoning(self._thought_joiner.end())
        if (rest := self._joiner.end()) and is_complete:
            self._add_split(self._tags.split(rest, self.parts), model)
        self._add_split(self._tags.end(is_cut_off=is_cut_off), model)
        self._append_calls(self._call_reader.end(), model)

    def accept_open_reasoning(self) -> None:
        """Make text that counted as reasoning, but was not closed by a tag, the answer."""
        if self._tags.is_open and not self.parts:
            self.parts, self.thoughts = self.thoughts, []

    def _add_split(self, split: Split, model: str) -> None:
        if split.recalls:
            self.thoughts += self.parts
            self.parts.clear()
            self.is_recalled = True
        self._append_reasoning(split.reasoning)
        self._append_text(split.text, model)

    def _append_text(self, text: str, model: str) -> None:
        if text:
            self.parts.append(text)
            self._count_chars(len(text), model)

    def _append_reasoning(self, text: str) -> None:
        kept = text[: MAX_REASONING_CHARS - self._reasoning_chars]
        if kept:
            self.thoughts.append(kept)
            self._reasoning_chars += len(kept)

    def _append_calls(self, calls: Iterable[ToolCall], model: str) -> None:
        for call in calls:
            self.calls.append(call)
            extra_chars = len(str(call.extra)) if call.extra else 0
            chars = len(call.name) + len(call.arguments) + extra_chars
            self._count_chars(_PIECE_CHARS + chars, model)

    def _count_chars(self, chars: int, model: str) -> None:
        self._chars += chars
        if self._chars > MAX_ANSWER_CHARS:
            raise BadStream(f"{model} sent an answer of more than {MAX_ANSWER_CHARS} characters.")
