"""What is kept, as plain records: what the journal writes, and what the store gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

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

# --- what is written ---


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """An Idempotency-Key to bind to a run. `replaces` is the run it may be taken from."""

    key: str
    fingerprint: bytes
    expires_at: datetime
    replaces: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that is about to begin. `brought` are earlier turns that the caller brought along.

    `retry_of` is the run that it takes the place of.
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
    key: NewKey | None = None
    retry_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Events `first_seq` to `last_seq` of a run as bytes (`runs/event_lines.py`)."""

    run_id: str
    owner: str
    first_seq: int
    last_seq: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer:
    """How one agent of a run ended. `state` is answered, failed or skipped."""

    run_id: str
    owner: str
    agent: str
    state: str
    report: AgentReport
    config_hash: str
    created_at: datetime
    code: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended. `state` is completed, failed, cancelled or interrupted."""

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
    code: str | None = None
    error: str | None = None
    tool_calls: Sequence[ToolCall] = ()


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """The key of an opening, or the run it was to retry, already has a run: this one.

    `fingerprint` is that of the request that the key came with, None for a retry.
    """

    run_id: str
    fingerprint: bytes | None


# --- what is read ---


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as the database has it. Times are UTC; `cost_usd` None: no price is known."""

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
    raw: str | None = None
    particulars: RequestOptions = field(default_factory=RequestOptions)
    tool_calls: Sequence[ToolCall] = ()
    missing: Sequence[MissingAgent] = ()
    degraded_by: Sequence[DegradedBy] = ()


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What an Idempotency-Key is bound to."""

    fingerprint: bytes
    run_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Signal:
    """What somebody elsewhere wants of a run: that it stops, or that it goes on for now."""

    run_id: str
    stop: bool
    watched_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation in a list."""

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTurn:
    """One message of a conversation; `run_id` and `state` when a run is behind it.

    An unanswered question is a turn without a turn of the assistant behind it.
    """

    role: str
    content: str
    created_at: datetime
    run_id: str | None = None
    state: str | None = None
    error: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    missing: Sequence[MissingAgent] = ()
    degraded_by: Sequence[DegradedBy] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A run that a search found. `rank` is higher for better; `snippet` marks what matched."""

    run: StoredRun
    rank: float
    snippet: str


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of `total` items; `is_capped` when there are more than `total` says."""

    items: Sequence[Item]
    total: int
    is_capped: bool = False
