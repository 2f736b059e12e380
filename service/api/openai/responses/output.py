"""Output items of a response, built from a run's events.

Each addition returns the events that a stream has for it. Knows nothing of the response itself.
Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from service.domain import ToolCall

Status = Literal["in_progress", "completed", "incomplete"]
# The type of an event of the stream, and its fields.
StreamEvent = tuple[str, dict[str, Any]]


@dataclass(slots=True)
class StreamedMessage:
    """A message of the answer's text. `index` is its place in the output."""

    id: str
    index: int
    status: Status = "in_progress"
    _pieces: list[str] = field(default_factory=list)

    def open(self) -> list[StreamEvent]:
        """Return the events that add the item to the output."""
        return [
            ("response.output_item.added", {"output_index": self.index, "item": self.build()}),
            ("response.content_part.added", {**self._place, "part": _text_part("")}),
        ]

    def add(self, text: str) -> list[StreamEvent]:
        """Add a piece, and return its events."""
        self._pieces.append(text)
        return [("response.output_text.delta", {**self._place, "delta": text, "logprobs": []})]

    def close(self, status: Status) -> list[StreamEvent]:
        """Complete the item, and return the events for it."""
        self.status = status
        text = "".join(self._pieces)
        return [
            ("response.output_text.done", {**self._place, "text": text, "logprobs": []}),
            ("response.content_part.done", {**self._place, "part": _text_part(text)}),
            ("response.output_item.done", {"output_index": self.index, "item": self.build()}),
        ]

    def build(self) -> dict[str, Any]:
        """Return the item with its content so far."""
        parts = [_text_part("".join(self._pieces))] if self._pieces else []
        shown = {"id": self.id, "type": "message", "status": self.status}
        return {**shown, "role": "assistant", "content": parts}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}


@dataclass(slots=True)
class StreamedReasoning:
    """The reasoning of the model, as text of its own. `index` is its place in the output."""

    id: str
    index: int
    status: Status = "in_progress"
    _pieces: list[str] = field(default_factory=list)

    def open(self) -> list[StreamEvent]:
        """Return the events that add the item to the output."""
        return [
            ("response.output_item.added", {"output_index": self.index, "item": self.build()}),
            ("response.content_part.added", {**self._place, "part": _reasoning_part("")}),
        ]

    def add(self, text: str) -> list[StreamEvent]:
        """Add a piece, and return its events."""
        self._pieces.append(text)
        return [("response.reasoning_text.delta", {**self._place, "delta": text})]

    def close(self, status: Status) -> list[StreamEvent]:
        """Complete the item, and return the events for it."""
        self.status = status
        text = "".join(self._pieces)
        return [
            ("response.reasoning_text.done", {**self._place, "text": text}),
            ("response.content_part.done", {**self._place, "part": _reasoning_part(text)}),
            ("response.output_item.done", {"output_index": self.index, "item": self.build()}),
        ]

    def build(self) -> dict[str, Any]:
        """Return the item with its content so far."""
        parts = [_reasoning_part("".join(self._pieces))] if self._pieces else []
        shown = {"id": self.id, "type": "reasoning", "status": self.status}
        return {**shown, "summary": [], "content": parts}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}


@dataclass(slots=True)
class StreamedCall:
    """A call of one of the client's functions."""

    id: str
    index: int
    call_id: str
    name: str
    status: Status = "in_progress"
    extra: Mapping[str, Any] = field(default_factory=dict)
    _pieces: list[str] = field(default_factory=list)

    def open(self) -> list[StreamEvent]:
        """Return the events that add the item to the output."""
        return [("response.output_item.added", {"output_index": self.index, "item": self.build()})]

    def add(self, piece: ToolCall) -> list[StreamEvent]:
        """Add a piece, and return its events."""
        self.extra = {**self.extra, **piece.extra}
        if not piece.arguments:
            return []
        self._pieces.append(piece.arguments)
        return [
            ("response.function_call_arguments.delta", {**self._place, "delta": piece.arguments})
        ]

    def close(self, status: Status) -> list[StreamEvent]:
        """Complete the item, and return the events for it."""
        self.status = status
        call = {**self._place, "name": self.name, "arguments": "".join(self._pieces)}
        return [
            ("response.function_call_arguments.done", call),
            ("response.output_item.done", {"output_index": self.index, "item": self.build()}),
        ]

    def build(self) -> dict[str, Any]:
        """Return the item with its content so far."""
        return {
            **self.extra,
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": "".join(self._pieces),
        }

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index}


class Output:
    """The items of one answer. `digits` are those of the run's id.

    A call ends the text before it, and text ends the reasoning before it. Pieces of several calls
    may alternate: all end with the answer.
    """

    def __init__(self, digits: str) -> None:
        self._digits = digits
        self._items: list[StreamedMessage | StreamedReasoning | StreamedCall] = []
        self._recalled: set[str] = set()  # ids of messages whose text was reasoning
        self._text: StreamedMessage | None = None
        self._reasoning: StreamedReasoning | None = None
        self._calls: dict[int, StreamedCall] = {}

    def add_text(self, text: str) -> list[StreamEvent]:
        """Add a piece of text, and return its events."""
        if self._text:
            return self._text.add(text)
        events = self._end_open_item()
        self._text = StreamedMessage(self._new_id("msg", StreamedMessage), len(self._items))
        self._items.append(self._text)
        return [*events, *self._text.open(), *self._text.add(text)]

    def add_reasoning(self, text: str) -> list[StreamEvent]:
        """Add a piece of reasoning, and return its events."""
        if self._reasoning:
            return self._reasoning.add(text)
        events = self._end_open_item()
        self._reasoning = StreamedReasoning(self._new_id("rs", StreamedReasoning), len(self._items))
        self._items.append(self._reasoning)
        return [*events, *self._reasoning.open(), *self._reasoning.add(text)]

    def recall_text(self) -> list[StreamEvent]:
        """Leave out the text so far, which was reasoning, and return the events for it."""
        self._recalled |= {each.id for each in self._items if isinstance(each, StreamedMessage)}
        return self._end_open_item("incomplete")

    def add_call(self, piece: ToolCall) -> list[StreamEvent]:
        """Add a piece of a call, and return its events."""
        events = self._end_open_item()
        known = self._calls.get(piece.index)
        if known is None:
            item_id = f"fc_{self._digits}_{piece.index}"
            known = StreamedCall(item_id, len(self._items), piece.id, piece.name)
            self._calls[piece.index] = known
            self._items.append(known)
            events += known.open()
        return events + known.add(piece)

    def close(self, status: Status) -> list[StreamEvent]:
        """Complete the items in progress, and return the events for it."""
        in_progress = [each for each in self._items if each.status == "in_progress"]
        self._text = self._reasoning = None
        return [event for each in in_progress for event in each.close(status)]

    def build_items(self) -> Sequence[dict[str, Any]]:
        """Return the items with their content so far."""
        return [each.build() for each in self._items if each.id not in self._recalled]

    def _end_open_item(self, status: Status = "completed") -> list[StreamEvent]:
        """Complete the text or reasoning in progress, and return the events for it."""
        item = self._text or self._reasoning
        self._text = self._reasoning = None
        return item.close(status) if item else []

    def _new_id(self, prefix: str, kind: type) -> str:
        number = sum(isinstance(each, kind) for each in self._items)
        return f"{prefix}_{self._digits}" + (f"_{number}" if number else "")


def _reasoning_part(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
