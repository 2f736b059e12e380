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


class VoteGroupShown(TypedDict):
    """Agents with the same answer; `share` is their part of all votes."""

    answer: str
    agents: list[str]
    share: float


class VotesShown(TypedDict):
    """The votes of the agents; `agreement` is the share of the largest group, 0 to 1."""

    groups: list[VoteGroupShown]
    agreement: float


class RankedAgentShown(TypedDict):
    """An agent with its score."""

    agent: str
    score: float


class GateShown(TypedDict):
    """The decision of `auto`; `saved_usd` is an estimate, null without a known price."""

    decision: Literal["single", "vote", "combine"]
    agreement: float
    why: str
    saved_usd: float | None


class ProvenanceShown(TypedDict):
    """A part of the answer, in characters, and the agents it rests on."""

    text: str
    start: int
    end: int
    agents: list[str]


class DissentShown(TypedDict):
    """A statement of an agent that the answer does not follow."""

    agent: str
    text: str


class FindingFields(TypedDict):
    """The findings of a run's strategy; each is present only where the strategy has made it."""

    analysis: NotRequired[dict[str, Any]]
    votes: NotRequired[VotesShown]
    ranking: NotRequired[list[RankedAgentShown]]
    gate: NotRequired[GateShown]
    provenance: NotRequired[list[ProvenanceShown]]
    dissent: NotRequired[list[DissentShown]]


class SeamShown(TypedDict):
    """A place at which an answer broke off and `model` continued it.

    `position` is the number of characters before it, `code` the reason.
    """

    position: int
    model: str
    code: str


class AgentShown(TypedDict):
    """An agent of a run; the fields from `model` on are present once it has ended."""

    name: str
    state: Literal["running", "answered", "failed", "skipped", "cancelled"]
    retries: int
    hedges: NotRequired[int]
    code: NotRequired[str]
    message: NotRequired[str]
    model: NotRequired[str]
    usage: NotRequired[TokenUsage]
    cost: NotRequired[float | None]
    elapsed_ms: NotRequired[float]
    first_token_ms: NotRequired[float | None]
    reused: NotRequired[bool]
    left_out: NotRequired[list[str]]
    finish_reason: NotRequired[str]
    answer: NotRequired[str]
    reasoning: NotRequired[str]
    partial: NotRequired[bool]
    continued: NotRequired[list[SeamShown]]


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
        "agent.continued",
        "agent.hedged",
        "agent.failed",
        "agent.skipped",
        "combine.started",
        "answer.delta",
        "answer.reasoning",
        "answer.reset",
        "answer.continued",
        "answer.tool_call",
        "analysis.finished",
        "vote.finished",
        "ranking.finished",
        "gate.decided",
        "provenance.finished",
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
    position: NotRequired[int]
    delay_ms: NotRequired[float]
    waited_ms: NotRequired[float]
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
    analysis: NotRequired[dict[str, Any]]
    groups: NotRequired[list[VoteGroupShown]]
    agreement: NotRequired[float]
    ranking: NotRequired[list[RankedAgentShown]]
    decision: NotRequired[Literal["single", "vote", "combine"]]
    why: NotRequired[str]
    saved_usd: NotRequired[float | None]
    provenance: NotRequired[list[ProvenanceShown]]
    dissent: NotRequired[list[DissentShown]]
