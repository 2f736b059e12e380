"""Input items of `/v1/responses`, and their conversion to chat messages.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Tag, model_validator

from service.api.http.body import AnyText, Body, parse_body
from service.api.openai.responses.parts import (
    Content,
    File,
    Output,
    Picture,
    SentBack,
    Sound,
    get_type,
)
from service.api.openai.tolerance import drop_additions
from service.api.openai.tools import Name, Open
from service.api.openai.turns import CompletionTurn
from service.domain import Message, ToolCall
from service.messages import format_tool_call

ChatMessage = dict[str, Any]


class MessageItem(SentBack):
    """A message of the conversation."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    # Fields of an answer that is sent back.
    id: str | None = None
    status: str | None = None
    phase: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_additions(cls, data: Any) -> Any:
        return drop_additions(data) if isinstance(data, dict) else data

    @property
    def media_bytes(self) -> int:
        """The size of the parts that are not text."""
        parts = self.content if isinstance(self.content, list) else []
        media = (part for part in parts if isinstance(part, Picture | File | Sound))
        return sum(len(part.model_dump_json()) for part in media)

    def add_to(self, turns: list[ChatMessage]) -> None:
        """Add the message to `turns`."""
        content: Any = self.content
        if not isinstance(content, str):
            content = [part.to_chat() for part in content]
            if len(content) == 1 and content[0]["type"] == "text":
                content = content[0]["text"]
        turns.append({"role": self.role, "content": content})


class CallItem(SentBack):
    """A function call of an answer, with fields that only the model's server knows."""

    model_config = ConfigDict(extra="allow")

    type: Literal["function_call"]
    call_id: AnyText
    name: Name
    arguments: AnyText
    id: str | None = None
    status: str | None = None
    parsed_arguments: Any = None

    def add_to(self, turns: list[ChatMessage]) -> None:
        """Add the call to the last answer: one chat message has all calls of an answer."""
        if not turns or turns[-1]["role"] != "assistant":
            turns.append({"role": "assistant"})
        call = ToolCall(0, self.call_id, self.name, self.arguments, self.model_extra or {})
        turns[-1].setdefault("tool_calls", []).append(format_tool_call(call))


class ResultItem(SentBack):
    """The result of a called function."""

    type: Literal["function_call_output"]
    call_id: AnyText
    output: Output
    id: str | None = None
    status: str | None = None

    def add_to(self, turns: list[ChatMessage]) -> None:
        """Add the result to `turns`."""
        output: Any = self.output
        if not isinstance(output, str):
            output = "".join(part.text for part in output)
        turns.append({"role": "tool", "tool_call_id": self.call_id, "content": output})


class ReasoningItem(Open):
    """The reasoning of a model. Ignored, because chat completions have no input for it."""

    type: Literal["reasoning"]

    def add_to(self, turns: list[ChatMessage]) -> None:
        """Add nothing."""


class Reference(Body):
    """The id of an item of an earlier answer, which `previous.py` puts in its place."""

    type: Literal["item_reference"] | None = None
    id: AnyText

    def add_to(self, turns: list[ChatMessage]) -> None:
        """Add a placeholder, so that the request can be checked before the item is found."""
        turns.append({"role": "assistant", "content": self.id})


_KINDS = "message, function_call, function_call_output, item_reference, reasoning"


def _detect_item(item: object) -> str:
    is_reference = isinstance(item, dict) and item.keys() == {"id"}
    return f"[{get_type(item) or ('item_reference' if is_reference else 'message')}]"


Item = Annotated[
    Annotated[MessageItem, Tag("[message]")]
    | Annotated[CallItem, Tag("[function_call]")]
    | Annotated[ResultItem, Tag("[function_call_output]")]
    | Annotated[Reference, Tag("[item_reference]")]
    | Annotated[ReasoningItem, Tag("[reasoning]")],
    Discriminator(
        _detect_item,
        custom_error_type="item_type",
        custom_error_message=f"an item here is one of {_KINDS}",
    ),
]


def parse_output_item(item: dict[str, Any]) -> MessageItem | CallItem:
    """Return an item of an answer as an input item. Raises RequestError 400."""
    data = json.dumps(item)
    return (
        parse_body(MessageItem, data) if item["type"] == "message" else parse_body(CallItem, data)
    )


def to_messages(items: Iterable[Item]) -> list[Message]:
    """Return `items` as messages of a conversation."""
    turns: list[ChatMessage] = []
    for item in items:
        item.add_to(turns)
    return [CompletionTurn.model_validate(turn).to_message() for turn in turns]
