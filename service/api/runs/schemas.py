"""Events of a run and their parts, for the OpenAPI document of `/api/process` and `/api/runs`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from service.api.http.degraded import DegradedFields


class TokenUsage(TypedDict):
    """Token counts of the model server; `estimated` when the service estimated some of them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: NotRequired[bool]


class ToolCallPiece(TypedDict):
    """A part of a call to one of the caller's tools."""

    index: int
    id: str
    name: str
    arguments: str
    extra: NotRequired[dict[str, Any]]


class RunEvent(DegradedFields):
    """An event of a run. `type` determines the optional fields.

    The first event is `run.started`; the last one, with `final`, is `run.finished` or
    `run.failed`. The answer is the concatenation of the `message` of all `answer.delta` events
    after the last `answer.reset`. `seq` has no gaps, except before a final event with
    `interrupted_at`: the `seq` of the last event that was known when another process ended the run.
    """

    message_id: str
    conversation_id: str
    status: str
    source: str
    type: Literal[
        "run.started",
        "agent.started",
        "agent.delta",
        "agent.reasoning",
        "agent.finished",
        "agent.retrying",
        "agent.failed",
        "agent.skipped",
        "combine.started",
        "answer.delta",
        "answer.reasoning",
        "answer.reset",
        "answer.tool_call",
        "run.finished",
        "run.failed",
    ]
    seq: int
    message: NotRequired[str]
    final: NotRequired[bool]
    run_id: NotRequired[str]
    trace_id: NotRequired[str]
    ensemble: NotRequired[str]
    agents: NotRequired[list[str]]
    used: NotRequired[list[str]]
    tool_call: NotRequired[ToolCallPiece]
    model: NotRequired[str]
    code: NotRequired[str]
    attempt: NotRequired[int]
    delay_ms: NotRequired[float]
    usage: NotRequired[TokenUsage]
    cost: NotRequired[float | None]
    elapsed_ms: NotRequired[float]
    first_token_ms: NotRequired[float | None]
    reused: NotRequired[bool]
    left_out: NotRequired[list[str]]
    finish_reason: NotRequired[str]
    partial: NotRequired[bool]
    interrupted_at: NotRequired[int]
    answered_by: NotRequired[str]
