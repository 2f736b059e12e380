"""Request bodies of `/v1/chat/completions`, and the run requests that they make.

A field that the service does not support is refused by name, unless it cannot change the answer.
Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from service.api.http.body import AnyText, Body, Identifier, Tokens
from service.api.http.principal import Principal
from service.api.openai.tools import Open, ResponseFormat, Tool, ToolCalled, ToolChoice
from service.conversation import Continue, Given
from service.domain import Message, RequestOptions, RunRequest
from service.ids import new_id
from service.messages import parse_chat_message

Fraction = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


def _detect_form(value: object) -> str:
    return "[several]" if isinstance(value, list) else "[one]"


# The JSON type selects the alternative, so that only its own faults are reported.
ONE_OR_SEVERAL = Discriminator(_detect_form)


class Part(Open):
    """A content part of a message. Agents get the types of parts that they accept."""

    type: Literal["text", "refusal", "image_url", "input_audio", "file"]
    text: AnyText | None = None
    refusal: AnyText | None = None

    @model_validator(mode="after")
    def _check_type(self) -> Part:
        if getattr(self, self.type, None) is None:
            raise ValueError(f"a part of the type {self.type} needs {self.type}")
        return self


Content = Annotated[
    Annotated[AnyText, Tag("[one]")] | Annotated[list[Part], Field(min_length=1), Tag("[several]")],
    ONE_OR_SEVERAL,
]


class CompletionTurn(Body):
    """A message. An answer of this service can be sent back unchanged."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: AnyText | None = None
    tool_call_id: AnyText | None = None
    tool_calls: list[ToolCalled] | None = None
    refusal: AnyText | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    parsed: Any = None  # OpenAI's SDKs add the parsed form of a structured answer

    @model_validator(mode="after")
    def _check_content(self) -> CompletionTurn:
        needs_none = self.role == "assistant" and (self.tool_calls or self.refusal)
        if self.content is None and not needs_none:
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

    def to_message(self) -> Message:
        """Return the message, without the fields that only OpenAI's SDKs add."""
        return parse_chat_message(
            self.model_dump(mode="json", exclude_none=True, exclude=_SDK_FIELDS)
        )


# The types of content parts that a message may have beside text.
_PART_TYPES = {"user": ("image_url", "input_audio", "file"), "assistant": ("refusal",)}
_SDK_FIELDS: dict[str, Any] = {
    "annotations": True,
    "parsed": True,
    "tool_calls": {"__all__": {"function": {"parsed_arguments"}}},
}


class ChatStreamOptions(Body):
    """Options of the stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Stop = Annotated[
    Annotated[AnyText, Tag("[one]")]
    | Annotated[list[AnyText], Field(max_length=4), Tag("[several]")],
    ONE_OR_SEVERAL,
]


class CompletionRequest(Body):
    """A chat completion to create. `model` is an ensemble, or `agent/` and the name of an agent."""

    model: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Annotated[list[CompletionTurn], Field(min_length=1)]
    stream: bool | None = None
    stream_options: ChatStreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Literal[1] | None = None
    # Passed on to models, if the strategy of the ensemble supports them.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Fraction | None = None
    seed: int | None = None
    stop: Stop | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    # Supported only with values that request nothing.
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    modalities: list[Literal["text"]] | None = None
    # Accepted and ignored: they cannot change the answer.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prediction: dict[str, Any] | None = None
    # Extensions of OpenAI's API.
    conversation_id: Identifier | None = None
    include_progress: bool | None = None

    @field_validator("tool_choice")
    @classmethod
    def _check_tool_choice(cls, choice: Any, info: ValidationInfo) -> Any:
        if choice is not None and not info.data.get("tools"):
            raise ValueError("is only allowed when tools are specified")
        return choice

    @model_validator(mode="after")
    def _check_fields(self) -> CompletionRequest:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        if self.max_tokens and self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens exclude each other")
        if is_blank(self.turns[-1]):
            raise ValueError("the last message must not be blank")
        return self

    @cached_property
    def turns(self) -> tuple[Message, ...]:
        """The messages of the conversation; the last is the question."""
        return tuple(turn.to_message() for turn in self.messages)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def to_request(self, principal: Principal) -> RunRequest:
        """Return the question of `principal`."""
        return RunRequest(
            messages=self.turns,
            message_id=new_id("msg"),
            history=self._choose_history(),
            ensemble=self.model,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            owner=principal.owner,
            options=RequestOptions(parameters=self._select_parameters()),
        )

    def _choose_history(self) -> Continue | Given:
        return Continue(name, is_complete=True) if (name := self.conversation_id) else Given()

    def _select_parameters(self) -> dict[str, Any]:
        sent = self.model_dump(mode="json", include=_PARAMETERS, exclude_unset=True)
        neutral: Sequence[Any] = (None, [], {}, {"type": "text"})
        return {name: value for name, value in sent.items() if value not in neutral}


_PARAMETERS = {
    "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias",
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort",
    "verbosity",
}  # fmt: skip


def is_blank(message: Message) -> bool:
    """Return whether a message has only white space."""
    return not (message.raw or message.content.strip())


def _list_parts(content: str | list[Part] | None) -> list[Part]:
    return content if isinstance(content, list) else []
