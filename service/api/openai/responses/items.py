"""Input items of `/v1/responses`, and their conversion to chat messages.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from service.api.http.body import AnyText, Body, parse_body
from service.api.openai.request import ONE_OR_SEVERAL, CompletionTurn
from service.api.openai.tools import Name, Open
from service.domain import Message, ToolCall
from service.messages import format_tool_call

ChatMessage = dict[str, Any]


class _Sent(Body):
    """An item or part of an answer. OpenAI's SDKs send it back with null for each unset field."""

    @model_validator(mode="before")
    @classmethod
    def _remove_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value is not None}
        return data


class TextContent(_Sent):
    """Text of a message. Text of an answer can be sent back unchanged."""

    type: Literal["input_text", "output_text", "text"]
    text: AnyText
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None

    def to_chat(self) -> dict[str, Any]:
        """Return the part in the format of chat messages."""
        return {"type": "text", "text": self.text}


class Refused(_Sent):
    """The text of a refusal to answer."""

    type: Literal["refusal"]
    refusal: AnyText

    def to_chat(self) -> dict[str, Any]:
        return {"type": "refusal", "refusal": self.refusal}


class Picture(Body):
    """An image: its address, or a `data:` URL."""

    type: Literal["input_image"]
    image_url: AnyText
    detail: AnyText | None = None
    file_id: None = None

    def to_chat(self) -> dict[str, Any]:
        detail = {"detail": self.detail} if self.detail else {}
        return {"type": "image_url", "image_url": {"url": self.image_url, **detail}}


class File(Body):
    """A file: its data, or its id at the model server of the agent."""

    type: Literal["input_file"]
    file_data: AnyText | None = None
    file_id: AnyText | None = None
    filename: AnyText | None = None
    file_url: None = None

    @model_validator(mode="after")
    def _check_source(self) -> File:
        if not (self.file_data or self.file_id):
            raise ValueError("a file needs file_data or file_id")
        return self

    def to_chat(self) -> dict[str, Any]:
        return {"type": "file", "file": self.model_dump(exclude={"type"}, exclude_none=True)}


class Sound(Body):
    """An audio recording: `{"data", "format"}`."""

    type: Literal["input_audio"]
    input_audio: dict[str, Any]

    def to_chat(self) -> dict[str, Any]:
        return {"type": "input_audio", "input_audio": self.input_audio}


_PARTS = "input_text, output_text, text, refusal, input_image, input_file, input_audio"


def _detect_part(part: object) -> str:
    kind = _get_type(part)
    return "[text]" if kind in ("input_text", "output_text", "text") else f"[{kind}]"


def _get_type(value: object) -> Any:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


Part = Annotated[
    Annotated[TextContent, Tag("[text]")]
    | Annotated[Refused, Tag("[refusal]")]
    | Annotated[Picture, Tag("[input_image]")]
    | Annotated[File, Tag("[input_file]")]
    | Annotated[Sound, Tag("[input_audio]")],
    Discriminator(
        _detect_part,
        custom_error_type="part_type",
        custom_error_message=f"a part here is one of {_PARTS}",
    ),
]
Content = Annotated[
    Annotated[AnyText, Tag("[one]")] | Annotated[list[Part], Field(min_length=1), Tag("[several]")],
    ONE_OR_SEVERAL,
]
Output = Annotated[
    Annotated[AnyText, Tag("[one]")]
    | Annotated[list[TextContent], Field(min_length=1), Tag("[several]")],
    ONE_OR_SEVERAL,
]


class MessageItem(_Sent):
    """A message of the conversation."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    # Fields of an answer that is sent back.
    id: str | None = None
    status: str | None = None
    phase: str | None = None

    def add_to(self, turns: list[ChatMessage]) -> None:
        """Add the message to `turns`."""
        content: Any = self.content
        if not isinstance(content, str):
            content = [part.to_chat() for part in content]
            if len(content) == 1 and content[0]["type"] == "text":
                content = content[0]["text"]
        turns.append({"role": self.role, "content": content})


class CallItem(_Sent):
    """A function call of an answer."""

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
        call = ToolCall(0, self.call_id, self.name, self.arguments)
        turns[-1].setdefault("tool_calls", []).append(format_tool_call(call))


class ResultItem(_Sent):
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
    return f"[{_get_type(item) or ('item_reference' if is_reference else 'message')}]"


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
