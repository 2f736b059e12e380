"""Output items of a response, built from a run's events.

Each addition returns the events that a stream has for it. Knows nothing of the response itself.
Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
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
class StreamedCall:
    """A call of one of the client's functions."""

    id: str
    index: int
    call_id: str
    name: str
    status: Status = "in_progress"
    _pieces: list[str] = field(default_factory=list)

    def open(self) -> list[StreamEvent]:
        """Return the events that add the item to the output."""
        return [("response.output_item.added", {"output_index": self.index, "item": self.build()})]

    def add(self, piece: ToolCall) -> list[StreamEvent]:
        """Add a piece, and return its events."""
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

    A call ends the text before it. Pieces of several calls may alternate: all end with the answer.
    """

    def __init__(self, digits: str) -> None:
        self._digits = digits
        self._items: list[StreamedMessage | StreamedCall] = []
        self._text: StreamedMessage | None = None
        self._calls: dict[int, StreamedCall] = {}

    def add_text(self, text: str) -> list[StreamEvent]:
        """Add a piece of text, and return its events."""
        if self._text:
            return self._text.add(text)
        number = sum(isinstance(each, StreamedMessage) for each in self._items)
        item_id = f"msg_{self._digits}" + (f"_{number}" if number else "")
        self._text = StreamedMessage(item_id, len(self._items))
        self._items.append(self._text)
        return [*self._text.open(), *self._text.add(text)]

    def add_call(self, piece: ToolCall) -> list[StreamEvent]:
        """Add a piece of a call, and return its events."""
        events: list[StreamEvent] = self._text.close("completed") if self._text else []
        self._text = None
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
        self._text = None
        return [event for each in in_progress for event in each.close(status)]

    def build_items(self) -> Sequence[dict[str, Any]]:
        """Return the items with their content so far."""
        return [each.build() for each in self._items]


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
