"""Content parts of the messages of `/v1/responses`, and their conversion to chat messages.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from service.api.http.body import AnyText, Body
from service.api.openai.tolerance import IGNORED_OF_MESSAGES, TolerantBody
from service.api.openai.turns import ONE_OR_SEVERAL


class SentBack(TolerantBody):
    """An item or part of an answer. OpenAI's SDKs send it back with null for each unset field."""

    ignored = IGNORED_OF_MESSAGES

    @model_validator(mode="before")
    @classmethod
    def _remove_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value is not None}
        return data


class TextContent(SentBack):
    """Text of a message. Text of an answer can be sent back unchanged."""

    type: Literal["input_text", "output_text", "text"]
    text: AnyText
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None

    def to_chat(self) -> dict[str, Any]:
        """Return the part in the format of chat messages."""
        return {"type": "text", "text": self.text}


class Refused(SentBack):
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
    kind = get_type(part)
    return "[text]" if kind in ("input_text", "output_text", "text") else f"[{kind}]"


def get_type(value: object) -> Any:
    """Return the type of a part or an item, before or after its validation."""
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
