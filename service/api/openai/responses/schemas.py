"""Response bodies and events of `/v1/responses`, for the OpenAPI document.

Source: https://platform.openai.com/docs/api-reference/responses/object and …/responses-streaming
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from service.api.http.degraded import DegradedFields

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class TextPart(TypedDict):
    """Text of the answer."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class MessageOutput(TypedDict):
    """A message with text of the answer."""

    id: str
    type: Literal["message"]
    status: ItemStatus
    role: Literal["assistant"]
    content: list[TextPart]


class ReasoningText(TypedDict):
    """Text of a model's reasoning."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningOutput(TypedDict):
    """The reasoning of the model that wrote the answer. It has no summary."""

    id: str
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[Any]
    content: list[ReasoningText]


class CallOutput(TypedDict):
    """A call of one of the client's functions; `arguments` is JSON."""

    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class ResponseError(TypedDict):
    """The reason for a missing answer: a code of `run.failed`, and a message."""

    code: str
    message: str


class IncompleteDetails(TypedDict):
    """The reason for an incomplete answer."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseUsage(TypedDict):
    """Tokens of all model calls of the answer. `estimated`: the service counted some of them."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int
    estimated: NotRequired[bool]


class ConversationReference(TypedDict):
    """The conversation that stores the question and the answer."""

    id: str


class ResponseShown(DegradedFields):
    """A `response`. Its other fields repeat those of the request, or have their defaults."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    completed_at: int | None
    conversation: ConversationReference
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    model: str
    output: list[MessageOutput | ReasoningOutput | CallOutput]
    usage: ResponseUsage | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: str
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: str
    user: str | None


class ResponseEvent(TypedDict):
    """An event of a stream. Its type determines its fields. Sequence numbers are consecutive."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    sequence_number: int
    response: NotRequired[ResponseShown]
    output_index: NotRequired[int]
    item: NotRequired[MessageOutput | ReasoningOutput | CallOutput]
    item_id: NotRequired[str]
    content_index: NotRequired[int]
    part: NotRequired[TextPart | ReasoningText]
    delta: NotRequired[str]
    text: NotRequired[str]
    logprobs: NotRequired[list[Any]]
    name: NotRequired[str]
    arguments: NotRequired[str]
