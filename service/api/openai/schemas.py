"""What `/v1` answers, in OpenAI's words: for the description of the API.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from service.api.http.degraded import DegradedFields

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


class UsageShown(TypedDict):
    """Tokens of all calls that the answer took. `estimated`: some were counted here."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]
    estimated: NotRequired[bool]


class FunctionShown(TypedDict):
    """A function that is called; `arguments` is JSON, in a chunk a piece of it."""

    name: NotRequired[str]
    arguments: str


class ToolCallShown(TypedDict):
    """A call of one of the caller's tools; in a chunk a piece of one, named by `index`."""

    index: NotRequired[int]
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionShown


class DeltaShown(TypedDict):
    """What a chunk adds to the message."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallShown]]


class ChunkChoice(TypedDict):
    """The one answer that a chunk belongs to."""

    index: int
    delta: DeltaShown
    finish_reason: FinishReason | None


class ChunkShown(DegradedFields):
    """A `chat.completion.chunk`. `progress` is there when it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: NotRequired[UsageShown | None]
    progress: NotRequired[dict[str, Any]]


class CompletionMessage(TypedDict):
    """The answer."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: NotRequired[list[ToolCallShown]]


class ChoiceShown(TypedDict):
    """The one answer."""

    index: int
    message: CompletionMessage
    logprobs: None
    finish_reason: FinishReason


class CompletionShown(DegradedFields):
    """A `chat.completion`. `progress` is there when it was asked for."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChoiceShown]
    usage: UsageShown
    progress: NotRequired[list[dict[str, Any]]]


class ModelShown(TypedDict):
    """An ensemble, or an agent alone, as a `model`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsShown(TypedDict):
    """All models."""

    object: Literal["list"]
    data: list[ModelShown]
