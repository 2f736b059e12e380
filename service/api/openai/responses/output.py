"""Output items of a response, built from a run's events.

Each addition returns the events that a stream has for it. Knows nothing of the response itself.
Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from service.domain import ToolCall

Status = Literal["in_progress", "completed", "incomplete"]
# The type of an event of the stream, and its fields.
StreamEvent = tuple[str, dict[str, Any]]


@dataclass(slots=True)
class _StreamedText(ABC):
    """An item of the output with one part of text. `index` is its place in the output."""

    id: str
    index: int
    status: Status = "in_progress"
    _pieces: list[str] = field(default_factory=list)

    def open(self) -> list[StreamEvent]:
        """Return the events that add the item to the output."""
        return [
            ("response.output_item.added", {"output_index": self.index, "item": self.build()}),
            ("response.content_part.added", {**self._place, "part": self._make_part("")}),
        ]

    def add(self, text: str) -> list[StreamEvent]:
        """Add a piece, and return its events."""
        self._pieces.append(text)
        return [self._make_event("delta", text)]

    def close(self, status: Status) -> list[StreamEvent]:
        """Complete the item, and return the events for it."""
        self.status = status
        text = "".join(self._pieces)
        return [
            self._make_event("done", text),
            ("response.content_part.done", {**self._place, "part": self._make_part(text)}),
            ("response.output_item.done", {"output_index": self.index, "item": self.build()}),
        ]

    def build(self) -> dict[str, Any]:
        """Return the item with its content so far."""
        parts = [self._make_part("".join(self._pieces))] if self._pieces else []
        return {"id": self.id, "status": self.status, **self._fields, "content": parts}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}

    @property
    @abstractmethod
    def _fields(self) -> dict[str, Any]:
        """The fields that every item of the type has."""

    @abstractmethod
    def _make_part(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def _make_event(self, moment: Literal["delta", "done"], text: str) -> StreamEvent: ...


class StreamedMessage(_StreamedText):
    """A message of the answer's text."""

    __slots__ = ()

    @property
    def _fields(self) -> dict[str, Any]:
        return {"type": "message", "role": "assistant"}

    def _make_part(self, text: str) -> dict[str, Any]:
        return _text_part(text)

    def _make_event(self, moment: Literal["delta", "done"], text: str) -> StreamEvent:
        name = "delta" if moment == "delta" else "text"
        return f"response.output_text.{moment}", {**self._place, name: text, "logprobs": []}


class StreamedReasoning(_StreamedText):
    """The reasoning of the model, as text of its own."""

    __slots__ = ()

    @property
    def _fields(self) -> dict[str, Any]:
        return {"type": "reasoning", "summary": []}

    def _make_part(self, text: str) -> dict[str, Any]:
        return _reasoning_part(text)

    def _make_event(self, moment: Literal["delta", "done"], text: str) -> StreamEvent:
        name = "delta" if moment == "delta" else "text"
        return f"response.reasoning_text.{moment}", {**self._place, name: text}


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
