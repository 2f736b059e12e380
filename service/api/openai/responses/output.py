"""The items of an answer as OpenAI's responses have them, put together of a run's events.

Knows what each piece adds, and what a stream says of it; not the response around them.
Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from service.domain import ToolCall

Status = Literal["in_progress", "completed", "incomplete"]
# The type of an event of a stream, and its fields.
Told = tuple[str, dict[str, Any]]


@dataclass(slots=True)
class StreamedMessage:
    """The answer's text, `index` its place in the output."""

    id: str
    index: int
    status: Status = "in_progress"
    _pieces: list[str] = field(default_factory=list)

    def opened(self) -> list[Told]:
        """Return what a stream says when it begins."""
        return [
            ("response.output_item.added", {"output_index": self.index, "item": self.shown()}),
            ("response.content_part.added", {**self._place, "part": _part("")}),
        ]

    def added(self, text: str) -> list[Told]:
        """Add a piece, and return what a stream says of it."""
        self._pieces.append(text)
        return [("response.output_text.delta", {**self._place, "delta": text, "logprobs": []})]

    def closed(self, status: Status) -> list[Told]:
        """End it, and return what a stream says then."""
        self.status = status
        text = "".join(self._pieces)
        return [
            ("response.output_text.done", {**self._place, "text": text, "logprobs": []}),
            ("response.content_part.done", {**self._place, "part": _part(text)}),
            ("response.output_item.done", {"output_index": self.index, "item": self.shown()}),
        ]

    def shown(self) -> dict[str, Any]:
        """Return it as far as it goes."""
        parts = [_part("".join(self._pieces))] if self._pieces else []
        shown = {"id": self.id, "type": "message", "status": self.status}
        return {**shown, "role": "assistant", "content": parts}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}


@dataclass(slots=True)
class StreamedCall:
    """A call of one of the caller's functions."""

    id: str
    index: int
    call_id: str
    name: str
    status: Status = "in_progress"
    _pieces: list[str] = field(default_factory=list)

    def opened(self) -> list[Told]:
        """Return what a stream says when it begins."""
        return [("response.output_item.added", {"output_index": self.index, "item": self.shown()})]

    def added(self, piece: ToolCall) -> list[Told]:
        """Add a piece, and return what a stream says of it."""
        if not piece.arguments:
            return []
        self._pieces.append(piece.arguments)
        return [
            ("response.function_call_arguments.delta", {**self._place, "delta": piece.arguments})
        ]

    def closed(self, status: Status) -> list[Told]:
        """End it, and return what a stream says then."""
        self.status = status
        whole = {**self._place, "name": self.name, "arguments": "".join(self._pieces)}
        return [
            ("response.function_call_arguments.done", whole),
            ("response.output_item.done", {"output_index": self.index, "item": self.shown()}),
        ]

    def shown(self) -> dict[str, Any]:
        """Return it as far as it goes."""
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

    Text ends where a call begins. Pieces of several calls may come mixed: all end with the answer.
    """

    def __init__(self, digits: str) -> None:
        self._digits = digits
        self._items: list[StreamedMessage | StreamedCall] = []
        self._text: StreamedMessage | None = None
        self._calls: dict[int, StreamedCall] = {}

    def say(self, text: str) -> list[Told]:
        """Add a piece of text, and return what a stream says of it."""
        if self._text:
            return self._text.added(text)
        number = sum(isinstance(each, StreamedMessage) for each in self._items)
        item_id = f"msg_{self._digits}" + (f"_{number}" if number else "")
        self._text = StreamedMessage(item_id, len(self._items))
        self._items.append(self._text)
        return [*self._text.opened(), *self._text.added(text)]

    def call(self, piece: ToolCall) -> list[Told]:
        """Add a piece of a call, and return what a stream says of it."""
        told: list[Told] = self._text.closed("completed") if self._text else []
        self._text = None
        known = self._calls.get(piece.index)
        if known is None:
            item_id = f"fc_{self._digits}_{piece.index}"
            known = StreamedCall(item_id, len(self._items), piece.id, piece.name)
            self._calls[piece.index] = known
            self._items.append(known)
            told += known.opened()
        return told + known.added(piece)

    def close(self, status: Status) -> list[Told]:
        """End what is not ended, and return what a stream says then."""
        still = [each for each in self._items if each.status == "in_progress"]
        self._text = None
        return [told for each in still for told in each.closed(status)]

    def shown(self) -> Sequence[dict[str, Any]]:
        """Return the items as far as they go."""
        return [each.shown() for each in self._items]


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
