"""The SQL statements of the journal. They are module constants, so each is compiled once.

One statement writes rows of many owners, so `Scope` does not restrict them. Each written row has
its owner, and rows are looked up by a run's id or by an owner and a key.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

from service.store.connections.urls import Dialect
from service.store.schema import (
    agent_answers,
    configs,
    conversations,
    idempotency_keys,
    messages,
    runs,
    segments,
    signals,
)

_INSERTS: dict[Dialect, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_OF_RUN = sa.and_(runs.c.id == bindparam("run"), runs.c.owner == bindparam("of_owner"))
_OF_CONVERSATION = sa.and_(
    conversations.c.owner == bindparam("of_owner"), conversations.c.id == bindparam("conversation")
)

# Held until the transaction ends. Of two workers with the same key, the second sees the row of the
# first. A worker's next write waits for its earlier commit, in case that is still in progress.
LOCK = sa.select(
    sa.func.pg_advisory_xact_lock(
        sa.func.unnest(bindparam("numbers", type_=postgresql.ARRAY(sa.BigInteger)))
    )
)
KNOWN_KEYS = sa.select(idempotency_keys).where(
    sa.tuple_(idempotency_keys.c.owner, idempotency_keys.c.key).in_(
        bindparam("keys", expanding=True)
    )
)
RETRIED = (
    sa.select(runs.c.id, runs.c.superseded_by)
    .where(runs.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(runs.c.id)
    .with_for_update()
)
# Locks the runs, so that others neither end, take over nor delete them while this transaction
# writes their rows. Rows for a run that has ended, or has a later attempt, are left out.
ATTEMPTS = (
    sa.select(
        runs.c.id,
        runs.c.owner,
        runs.c.conversation_id,
        runs.c.state,
        runs.c.attempt,
        runs.c.ensemble,
        runs.c.key_id,
    )
    .where(runs.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(runs.c.id)
    .with_for_update(key_share=True)
)
# The ended run whose gap begins with event `first_seq`, for a writer of an earlier attempt.
GAP = (
    sa.select(runs.c.id)
    .where(
        _OF_RUN,
        runs.c.state != "running",
        runs.c.events_expired.is_(False),
        runs.c.interrupted_at == bindparam("first_seq") - 1,
        runs.c.attempt > bindparam("of_attempt"),
    )
    .with_for_update(key_share=True)
)
_COMPLETED = ("interrupted_at", "answer", "answer_words", "tool_calls")
ADD_LATE = (
    sa.update(runs).where(_OF_RUN).values({name: bindparam(f"new_{name}") for name in _COMPLETED})
)
DROPPED = (
    sa.select(runs.c.id, runs.c.owner, runs.c.conversation_id, runs.c.created_at, runs.c.retry_of)
    .where(runs.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(runs.c.id)
    .with_for_update()
)

SUPERSEDE = (
    sa.update(runs)
    .where(_OF_RUN, runs.c.superseded_by.is_(None))
    .values(superseded_by=bindparam("by"))
)
REINSTATE = (
    sa.update(runs)
    .where(_OF_RUN, runs.c.superseded_by == bindparam("by"))
    .values(superseded_by=None)
)
_ENDED = (
    "state", "answer", "answer_words",
    "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "usage_estimated",
    "cost_usd", "elapsed_ms", "ended_at", "last_seq", "events_expire_at",
    "degraded", "degraded_by", "missing", "answered_by", "finish_reason", "code", "error",
    "tool_calls", "findings", "recording", "interrupted_at",
)  # fmt: skip
END_RUN = (
    sa.update(runs)
    .where(_OF_RUN, runs.c.state == "running")
    .values({name: bindparam(name) for name in _ENDED})
)
DELETE_SIGNALS = sa.delete(signals).where(
    signals.c.run_id == bindparam("run"), signals.c.owner == bindparam("of_owner")
)
TOUCH_CONVERSATION = (
    sa.update(conversations)
    .where(_OF_CONVERSATION, conversations.c.updated_at < bindparam("at"))
    .values(updated_at=bindparam("at"))
)
DROP_RUN = sa.delete(runs).where(_OF_RUN)
# Only a conversation that was created with the run: a client may have created an empty one.
DROP_CONVERSATION = sa.delete(conversations).where(
    _OF_CONVERSATION,
    conversations.c.created_at == bindparam("at"),
    ~sa.exists().where(
        runs.c.owner == conversations.c.owner, runs.c.conversation_id == conversations.c.id
    ),
)


class Inserts:
    """The INSERT statements; their ON CONFLICT clause differs between SQLite and PostgreSQL."""

    def __init__(self, dialect: Dialect) -> None:
        self._insert = _INSERTS[dialect]
        self.conversation = self._upsert_conversation()
        self.config = self._insert_new(configs)
        self.run = self._insert_new(runs)
        self.message = self._insert_new(messages)
        self.key = self._upsert(
            idempotency_keys,
            "owner",
            "key",
            replaces=("fingerprint", "run_id", "expires_at"),
        )
        self.segment = self._insert_new(segments)
        self.answer = self._insert_new(agent_answers)

    def _upsert_conversation(self) -> Any:
        """Create a conversation, or touch it; an empty title becomes that of the question."""
        statement = self._insert(conversations)
        new, old = statement.excluded, conversations.c
        title = sa.case((old.title == "", new.title), else_=old.title)
        return statement.on_conflict_do_update(
            index_elements=("owner", "id"), set_={"updated_at": new.updated_at, "title": title}
        )

    def _insert_new(self, table: Table) -> Any:
        return self._insert(table).on_conflict_do_nothing()

    def _upsert(self, table: Table, *key: str, replaces: tuple[str, ...]) -> Any:
        statement = self._insert(table)
        return statement.on_conflict_do_update(
            index_elements=key, set_={name: statement.excluded[name] for name in replaces}
        )
