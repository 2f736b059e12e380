"""Request bodies of `/v1/responses`, and the run requests that they make.

A field that the service does not support is refused by name, unless it cannot change the answer.
Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Tag, model_validator

from service.access.principal import Principal
from service.api.http.body import AnyText, Identifier, Text, Tokens
from service.api.openai.request import Fraction, is_blank
from service.api.openai.responses.items import Item, MessageItem, to_messages
from service.api.openai.tolerance import IGNORED_OF_REQUESTS, TolerantBody
from service.api.openai.tools import WORD_OR_OBJECT, Name
from service.api.openai.turns import ONE_OR_SEVERAL
from service.conversation import History
from service.domain import Message, RequestOptions, RunRequest
from service.ids import new_id


class FunctionTool(TolerantBody):
    """A function of the client. OpenAI's own tools are not supported."""

    type: Literal["function"]
    name: Name
    description: AnyText | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def to_chat(self) -> dict[str, Any]:
        """Return the tool in the format of chat completions."""
        function = self.model_dump(exclude={"type"}, exclude_none=True)
        return {"type": "function", "function": function}


class FunctionChoice(TolerantBody):
    """The function that the model must call."""

    type: Literal["function"]
    name: Name

    def to_chat(self) -> dict[str, Any]:
        return {"type": "function", "function": {"name": self.name}}


class Plain(TolerantBody):
    """A format of plain text, or of any JSON object."""

    type: Literal["text", "json_object"]

    def to_chat(self) -> dict[str, Any]:
        return {"type": self.type}


class Schema(TolerantBody):
    """A format of JSON with a schema."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["json_schema"]
    name: Name
    schema_: dict[str, Any] = Field(alias="schema")
    description: AnyText | None = None
    strict: bool | None = None

    def to_chat(self) -> dict[str, Any]:
        named = self.model_dump(exclude={"type"}, exclude_none=True)
        return {"type": self.type, "json_schema": named}


class TextSettings(TolerantBody):
    """The format of the answer."""

    format: Annotated[Plain | Schema, Field(discriminator="type")] | None = None
    verbosity: str | None = None


class Reasoning(TolerantBody):
    """The reasoning effort. The response has the reasoning itself, without a summary."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class ConversationId(TolerantBody):
    """The id of a conversation."""

    id: Identifier


class ResponseStreamOptions(TolerantBody):
    """Options of the stream."""

    model_config = ConfigDict(extra="ignore")

    include_obfuscation: bool | None = None


Conversation = Annotated[
    Annotated[Identifier, Tag("[word]")] | Annotated[ConversationId, Tag("[object]")],
    WORD_OR_OBJECT,
]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("[word]")]
    | Annotated[FunctionChoice, Tag("[object]")],
    WORD_OR_OBJECT,
]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[AnyText, Field(max_length=512)],
    ],
    Field(max_length=16),
]


Input = Annotated[
    Annotated[Text, Tag("[one]")] | Annotated[list[Item], Field(min_length=1), Tag("[several]")],
    ONE_OR_SEVERAL,
]


class ResponseRequest(TolerantBody):
    """A response to create. `model` is an ensemble, or `agent/` and the name of an agent."""

    ignored = IGNORED_OF_REQUESTS

    model: Annotated[str, Field(min_length=1, max_length=128)]
    input: Input
    instructions: AnyText | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Conversation | None = None
    max_output_tokens: Tokens | None = None
    # Passed on to models, if the strategy of the ensemble supports them.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Fraction | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    # Supported only with values that request nothing: reasoning is not encrypted.
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    top_logprobs: Literal[0] | None = None
    # Accepted and ignored: they cannot change the answer.
    max_tool_calls: int | None = None  # of OpenAI's own tools
    metadata: Metadata | None = None
    prompt_cache_key: AnyText | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: AnyText | None = None
    safety_identifier: AnyText | None = None
    service_tier: AnyText | None = None
    store: bool | None = None  # every answer is stored until its conversation is deleted
    stream_options: ResponseStreamOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: AnyText | None = None

    @model_validator(mode="after")
    def _check_fields(self) -> ResponseRequest:
        if self.previous_response_id and self.conversation:
            raise ValueError("previous_response_id and conversation exclude each other")
        options = self.stream_options
        if options and options.include_obfuscation is not None and not self.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        if not self.tools and self.tool_choice not in (None, "none", "auto"):
            raise ValueError("tool_choice calls for a tool, and there are no tools")
        if not self.turns or is_blank(self.turns[-1]):
            raise ValueError("the last message of the input must not be blank")
        return self

    @cached_property
    def turns(self) -> tuple[Message, ...]:
        """The messages of `input`; the last is the question."""
        if isinstance(self.input, str):
            return (Message("user", self.input),)
        return tuple(to_messages(self.input))

    def to_request(
        self, principal: Principal, history: History, messages: Sequence[Message]
    ) -> RunRequest:
        """Return the question of `principal`.

        `history` and `messages` are those that `service.api.openai.responses.previous` finds.
        """
        return RunRequest(
            messages=tuple(messages),
            message_id=new_id("msg"),
            history=history,
            ensemble=self.model,
            max_tokens=self.max_output_tokens,
            principal=principal,
            options=RequestOptions(
                parameters=self._build_parameters(),
                instructions=self.instructions or "",
                echo=self.model_dump(mode="json", include=_ECHOED, exclude_none=True),
                background=bool(self.background),
                reasoning="answer",
            ),
        )

    @property
    def media_bytes(self) -> int:
        """The size of the parts of messages that are not text."""
        items = self.input if isinstance(self.input, list) else []
        return sum(each.media_bytes for each in items if isinstance(each, MessageItem))

    @property
    def conversation_id(self) -> str | None:
        named = self.conversation
        return named.id if isinstance(named, ConversationId) else named

    def _build_parameters(self) -> dict[str, Any]:
        """Return the parameters for models in the format of chat completions."""
        format_ = self.text.format if self.text else None
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "response_format": format_.to_chat() if format_ and format_.type != "text" else None,
            "verbosity": self.text.verbosity if self.text else None,
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
            **(self._build_tool_parameters() if self.tools else {}),
        }
        return {name: value for name, value in values.items() if value is not None}

    def _build_tool_parameters(self) -> dict[str, Any]:
        choice = self.tool_choice
        return {
            "tools": [tool.to_chat() for tool in self.tools or []],
            "tool_choice": choice.to_chat() if isinstance(choice, FunctionChoice) else choice,
            "parallel_tool_calls": self.parallel_tool_calls,
        }


_ECHOED = {
    "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "temperature",
    "text", "tool_choice", "tools", "top_p", "truncation", "user",
}  # fmt: skip
