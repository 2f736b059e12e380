"""Request bodies of `/v1/chat/completions`, and the run requests that they make.

A field that the service does not support is refused by name, unless it cannot change the answer.
Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service.access.principal import Principal
from service.api.http.body import AnyText, Identifier, Tokens
from service.api.openai.tolerance import IGNORED_OF_REQUESTS, TolerantBody
from service.api.openai.tools import ResponseFormat, Tool, ToolChoice
from service.api.openai.turns import ONE_OR_SEVERAL, CompletionTurn
from service.conversation import Continue, Given
from service.domain import Message, RequestOptions, RunRequest
from service.ids import new_id

Fraction = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class ChatStreamOptions(TolerantBody):
    """Options of the stream; none can change the answer."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Stop = Annotated[
    Annotated[AnyText, Tag("[one]")]
    | Annotated[list[AnyText], Field(max_length=4), Tag("[several]")],
    ONE_OR_SEVERAL,
]


class CompletionRequest(TolerantBody):
    """A chat completion to create. `model` is an ensemble, or `agent/` and the name of an agent."""

    ignored = IGNORED_OF_REQUESTS

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
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    prediction: Any = None
    # Extensions of OpenAI's API.
    conversation_id: Identifier | None = None
    include_progress: bool | None = None
    include_reasoning: bool | None = None

    @field_validator("tool_choice")
    @classmethod
    def _check_tool_choice(cls, choice: Any, info: ValidationInfo) -> Any:
        if choice is not None and not info.data.get("tools"):
            raise ValueError("is only allowed when tools are specified")
        return choice

    @model_validator(mode="after")
    def _check_fields(self) -> CompletionRequest:
        if self.wants_usage and not self.stream:
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
    def media_bytes(self) -> int:
        """The size of the parts of messages that are not text."""
        return sum(turn.media_bytes for turn in self.messages)

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
            principal=principal,
            options=RequestOptions(
                parameters=self._select_parameters(),
                reasoning="none" if self.include_reasoning is False else "answer",
            ),
        )

    def _choose_history(self) -> Continue | Given:
        return Continue(name, is_complete=True) if (name := self.conversation_id) else Given()

    def _select_parameters(self) -> dict[str, Any]:
        sent = self.model_dump(mode="json", include=_PARAMETERS, exclude_unset=True)
        neutral: Sequence[Any] = (None, [], {}, {"type": "text"})
        if not sent.get("tools"):  # OpenAI refuses it without tools
            sent.pop("parallel_tool_calls", None)
        return {name: value for name, value in sent.items() if value not in neutral}


_PARAMETERS = {
    "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias",
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort",
    "verbosity",
}  # fmt: skip


def is_blank(message: Message) -> bool:
    """Return whether a message has only white space."""
    return not (message.raw or message.content.strip())
