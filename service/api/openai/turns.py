"""Messages of requests in the format of chat completions.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from service.api.http.body import AnyText
from service.api.openai.tolerance import (
    IGNORED_OF_MESSAGES,
    TolerantBody,
    drop_additions,
    is_empty,
)
from service.api.openai.tools import Open, ToolCalled
from service.domain import Message
from service.messages import parse_chat_message


def _detect_form(value: object) -> str:
    return "[several]" if isinstance(value, list) else "[one]"


# The JSON type selects the alternative, so that only its own faults are reported.
ONE_OR_SEVERAL = Discriminator(_detect_form)


class Part(Open):
    """A content part of a message. Agents get the types of parts that they accept."""

    type: Literal["text", "refusal", "image_url", "input_audio", "file"]
    text: AnyText | None = None
    refusal: AnyText | None = None

    @property
    def is_media(self) -> bool:
        """Whether the part is an image, audio or a file."""
        return self.type not in ("text", "refusal")

    @model_validator(mode="after")
    def _check_type(self) -> Part:
        if getattr(self, self.type, None) is None:
            raise ValueError(f"a part of the type {self.type} needs {self.type}")
        return self


Content = Annotated[
    Annotated[AnyText, Tag("[one]")] | Annotated[list[Part], Field(min_length=1), Tag("[several]")],
    ONE_OR_SEVERAL,
]


class CompletionTurn(TolerantBody):
    """A message. An answer of this service, or of another server, can be sent back unchanged."""

    ignored = IGNORED_OF_MESSAGES

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: AnyText | None = None
    tool_call_id: AnyText | None = None
    tool_calls: list[ToolCalled] | None = None
    refusal: AnyText | None = None
    annotations: list[Any] | None = None
    parsed: Any = None  # OpenAI's SDKs add the parsed form of a structured answer

    @model_validator(mode="before")
    @classmethod
    def _drop_additions(cls, data: Any) -> Any:
        return drop_additions(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _check_content(self) -> CompletionTurn:
        # An answer that was cut off before its first text has none.
        if self.content is None and self.role != "assistant":
            raise ValueError("content is required")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("a message of the role tool, and no other, has a tool_call_id")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only a message of the role assistant has tool_calls")
        types = {part.type for part in _list_parts(self.content)} - {
            "text",
            *_PART_TYPES.get(self.role, ()),
        }
        if types:
            raise ValueError(f"a message of the role {self.role} has no {', '.join(sorted(types))}")
        return self

    @property
    def media_bytes(self) -> int:
        """The size of the parts that are not text."""
        media = (part for part in _list_parts(self.content) if part.is_media)
        return sum(len(part.model_dump_json()) for part in media)

    def to_message(self) -> Message:
        """Return the message, without empty fields and those that only OpenAI's SDKs add."""
        fields = self.model_dump(mode="json", exclude_none=True, exclude=_SDK_FIELDS)
        return parse_chat_message(
            {name: each for name, each in fields.items() if name == "content" or not is_empty(each)}
        )


# The types of content parts that a message may have beside text.
_PART_TYPES = {"user": ("image_url", "input_audio", "file"), "assistant": ("refusal",)}
_SDK_FIELDS: dict[str, Any] = {
    "annotations": True,
    "parsed": True,
    "tool_calls": {"__all__": {"function": {"parsed_arguments"}}},
}


def _list_parts(content: str | list[Part] | None) -> list[Part]:
    return content if isinstance(content, list) else []
