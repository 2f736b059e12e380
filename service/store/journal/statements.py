"""The journal's statements, made once: each is compiled once and costs nothing to name again.

They work on many owners' rows at once, so they are not narrowed by `Scope`: every row that they
write names its owner, and every row that they look for is found by a run's id or an owner's key.
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

_OF_RUN = sa.and_(runs.c.id == bindparam("run"), runs.c.owner == bindparam("whose"))
_OF_CONVERSATION = sa.and_(
    conversations.c.owner == bindparam("whose"), conversations.c.id == bindparam("conversation")
)

# Held until the transaction ends: of two workers with one key the second sees the first, and what
# a worker writes after a commit in doubt is written after that commit, should it come about.
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
# A run is neither ended nor deleted by others while this transaction writes what belongs to it.
# What comes after its end is from a process that was taken for dead, or written already.
STILL_RUNNING = (
    sa.select(runs.c.id, runs.c.owner, runs.c.conversation_id)
    .where(runs.c.id.in_(bindparam("ids", expanding=True)), runs.c.state == "running")
    .order_by(runs.c.id)
    .with_for_update(key_share=True)
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
    "state", "answer", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    "usage_estimated", "cost_usd", "elapsed_ms", "ended_at", "last_seq", "events_expire_at",
    "degraded", "degraded_by", "missing", "answered_by", "code", "error", "tool_calls",
)  # fmt: skip
END_RUN = (
    sa.update(runs)
    .where(_OF_RUN, runs.c.state == "running")
    .values({name: bindparam(name) for name in _ENDED})
)
FORGET_SIGNALS = sa.delete(signals).where(
    signals.c.run_id == bindparam("run"), signals.c.owner == bindparam("whose")
)
TOUCH_CONVERSATION = (
    sa.update(conversations)
    .where(_OF_CONVERSATION, conversations.c.updated_at < bindparam("at"))
    .values(updated_at=bindparam("at"))
)
DROP_RUN = sa.delete(runs).where(_OF_RUN)
# Only one that began with the run: another may have been made empty on purpose.
DROP_CONVERSATION = sa.delete(conversations).where(
    _OF_CONVERSATION,
    conversations.c.created_at == bindparam("at"),
    ~sa.exists().where(
        runs.c.owner == conversations.c.owner, runs.c.conversation_id == conversations.c.id
    ),
)


class Inserts:
    """The statements that SQLite and PostgreSQL have each in a dialect of its own."""

    def __init__(self, dialect: Dialect) -> None:
        self._insert = _INSERTS[dialect]
        self.conversation = self._conversation()
        self.config = self._once(configs)
        self.run = self._once(runs)
        self.message = self._once(messages)
        self.key = self._upsert(
            idempotency_keys,
            "owner",
            "key",
            replaces=("fingerprint", "run_id", "expires_at"),
        )
        self.segment = self._once(segments)
        self.answer = self._once(agent_answers)

    def _conversation(self) -> Any:
        """Begin a conversation; one that was made without a title gets that of the question."""
        statement = self._insert(conversations)
        new, old = statement.excluded, conversations.c
        title = sa.case((old.title == "", new.title), else_=old.title)
        return statement.on_conflict_do_update(
            index_elements=("owner", "id"), set_={"updated_at": new.updated_at, "title": title}
        )

    def _once(self, table: Table) -> Any:
        return self._insert(table).on_conflict_do_nothing()

    def _upsert(self, table: Table, *key: str, replaces: tuple[str, ...]) -> Any:
        statement = self._insert(table)
        return statement.on_conflict_do_update(
            index_elements=key, set_={name: statement.excluded[name] for name in replaces}
        )
