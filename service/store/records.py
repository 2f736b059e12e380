"""Records of the store: those that the journal writes and those that queries return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.domain import (
    AgentReport,
    DegradedBy,
    Message,
    MissingAgent,
    RequestOptions,
    RunRequest,
    ToolCall,
    Usage,
)
from service.store.budgets.records import BudgetDemand, Interruption
from service.store.usage.records import UsageShare

FIRST_ATTEMPT = 1  # at a run; each takeover by another worker adds one

# --- written by the journal ---


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """An Idempotency-Key to bind to a run. It may be taken over from the run `replaces`."""

    key: str
    fingerprint: bytes
    expires_at: datetime
    replaces: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to create.

    `initial_messages` are earlier turns that the request contains; the store saves them when it
    creates the conversation. `retry_of` is the run that this one supersedes. `demands` are
    reserved with it.
    """

    run_id: str
    worker_id: str
    ask: RunRequest
    ensemble: str
    config_hash: str
    config: str  # the ensemble as JSON
    trace_id: str
    created_at: datetime
    initial_messages: Sequence[Message] = ()
    preceding: Sequence[Message] = ()
    key: NewKey | None = None
    retry_of: str | None = None
    demands: Sequence[BudgetDemand] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Events `first_seq` to `last_seq` of a run as bytes (`runs/journal/codec.py`).

    `attempt` is that of the worker which writes them.
    """

    run_id: str
    owner: str
    first_seq: int
    last_seq: int
    data: bytes
    attempt: int = FIRST_ATTEMPT


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer:
    """The result of one agent of a run. `state` is answered, failed or skipped."""

    run_id: str
    owner: str
    agent: str
    state: str
    report: AgentReport
    config_hash: str
    created_at: datetime
    code: str | None = None
    error: str | None = None
    attempt: int = FIRST_ATTEMPT


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """The end of a run. `state` is completed, failed, cancelled or interrupted.

    `interrupted_at` is the last event before a gap, or None, `findings` the strategy's JSON,
    `recording` the times of its events and its model calls, None when they are unknown. With
    `is_reserved` it settles the run's reservation, after an `interruption` also unknown amounts.
    """

    run_id: str
    owner: str
    state: str
    answer: str
    usage: Usage
    cost_usd: float | None
    elapsed_ms: float | None
    ended_at: datetime
    last_seq: int
    events_expire_at: datetime
    missing: Sequence[MissingAgent] = ()
    degraded_by: Sequence[DegradedBy] = ()
    answered_by: str | None = None
    finish_reason: str | None = None
    code: str | None = None
    error: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    findings: str | None = None
    recording: bytes | None = None
    interrupted_at: int | None = None
    attempt: int = FIRST_ATTEMPT
    shares: Sequence[UsageShare] = ()
    is_reserved: bool = False
    interruption: Interruption | None = None


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """A conflict of a new run with run `run_id`, which has its key or retries the same run.

    `fingerprint` belongs to the request that first used the key; it is None for a retry.
    """

    run_id: str
    fingerprint: bytes | None


# --- returned by queries ---


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as stored. Times are in UTC; `cost_usd` is None without a known price.

    `last_seq` is the number of the final event, 0 before it; `interrupted_at` that of the last
    event before a gap in the numbers, None without one.
    """

    id: str
    owner: str
    conversation_id: str
    message_id: str
    state: str
    question: str
    answer: str
    ensemble: str
    config_hash: str
    trace_id: str
    worker_id: str
    stream_agents: bool
    max_tokens: int | None
    timeout_s: float | None
    created_at: datetime
    ended_at: datetime | None
    elapsed_ms: float | None
    usage: Usage
    cost_usd: float | None
    answered_by: str | None
    code: str | None
    error: str | None
    retry_of: str | None
    superseded_by: str | None
    last_seq: int
    events_expired: bool
    attempt: int = FIRST_ATTEMPT
    interrupted_at: int | None = None
    raw: str | None = None
    options: RequestOptions = field(default_factory=RequestOptions)
    preceding: Sequence[Message] = ()
    follows: str = ""
    finish_reason: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    missing: Sequence[MissingAgent] = ()
    degraded_by: Sequence[DegradedBy] = ()


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An Idempotency-Key and the run that it is bound to."""

    fingerprint: bytes
    run_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation without its turns."""

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTurn:
    """One message of a conversation; `run_id` and `state` are set if it belongs to a run.

    A question without an answer has no assistant turn after it.
    """

    role: str
    content: str
    created_at: datetime
    run_id: str | None = None
    state: str | None = None
    error: str | None = None
    finish_reason: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    missing: Sequence[MissingAgent] = ()
    degraded_by: Sequence[DegradedBy] = ()


@dataclass(frozen=True, slots=True)
class FirstTurns:
    """The first turns of a conversation, and the ids of the runs with the others, in parts."""

    items: Sequence[ConversationTurn]
    unread: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A search result. A higher `rank` is better; `snippet` contains the marked matches."""

    run: StoredRun
    rank: float
    snippet: str
