"""Response bodies of `/v1/chat/completions` and `/v1/models`, for the OpenAPI document.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from service.api.http.degraded import DegradedFields

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


class UsageShown(TypedDict):
    """Tokens of all model calls of the answer. `estimated`: the service counted some of them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]
    estimated: NotRequired[bool]


class FunctionShown(TypedDict):
    """A called function. `arguments` is JSON; a chunk has a piece of it."""

    name: NotRequired[str]
    arguments: str


class ToolCallShown(TypedDict):
    """A call of one of the request's tools. A chunk has a piece of the call number `index`."""

    index: NotRequired[int]
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionShown


class DeltaShown(TypedDict):
    """The addition of a chunk to the message."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallShown]]


class ChunkChoice(TypedDict):
    """The addition of a chunk to the only answer."""

    index: int
    delta: DeltaShown
    finish_reason: FinishReason | None


class ChunkShown(DegradedFields):
    """A `chat.completion.chunk`. `progress` is present with `include_progress`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: NotRequired[UsageShown | None]
    progress: NotRequired[dict[str, Any]]


class CompletionMessage(TypedDict):
    """The message of the answer."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallShown]]


class ChoiceShown(TypedDict):
    """The only answer."""

    index: int
    message: CompletionMessage
    logprobs: None
    finish_reason: FinishReason


class CompletionShown(DegradedFields):
    """A `chat.completion`. `progress` is present with `include_progress`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChoiceShown]
    usage: UsageShown
    progress: NotRequired[list[dict[str, Any]]]


class ModelShown(TypedDict):
    """A model: an ensemble or a single agent."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsShown(TypedDict):
    """The list of all models."""

    object: Literal["list"]
    data: list[ModelShown]
