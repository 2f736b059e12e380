"""The tables. One schema for SQLite and PostgreSQL; the migrations make it, this describes it.

A row of a user's data names its `owner`; `store/scope.py` restricts queries to one. `configs` and
`workers` belong to the service. The search index and the counts are in the migrations alone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)


class UTCTime(TypeDecorator[datetime]):
    """A moment: aware and in UTC on both sides; SQLite has no time zones of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_SURROGATE = re.compile("[\ud800-\udfff]")


def replace_unstorable(text: str) -> str:
    """Return text that any database takes: U+FFFD for NUL and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return _SURROGATE.sub("\ufffd", text.replace("\0", "\ufffd"))


class CleanText(TypeDecorator[str]):
    """Text, cleaned; what is looked for is cleaned in the same way, so it is found again."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else replace_unstorable(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only by INTEGER

# A conversation's id may be the caller's own, so it is one's own only together with its owner.
conversations = Table(
    "conversations",
    metadata,
    Column("owner", CleanText, primary_key=True),
    Column("id", CleanText, primary_key=True),
    Column("title", CleanText, nullable=False),
    Column("created_at", UTCTime, nullable=False),
    Column("updated_at", UTCTime, nullable=False),
    Column("user_id", CleanText),  # the caller's own label: whose session it is
    Index("ix_conversations_recent", "owner", "updated_at", "id"),
    Index("ix_conversations_user", "owner", "user_id", "updated_at", "id"),
)

# Turns that a caller brought along when a conversation began; those that follow are runs.
messages = Table(
    "messages",
    metadata,
    Column("owner", CleanText, primary_key=True),
    Column("conversation_id", CleanText, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("role", CleanText, nullable=False),
    Column("content", CleanText, nullable=False),
    Column("created_at", UTCTime, nullable=False),
    Column("whole", CleanText),  # `Message.raw`
    ForeignKeyConstraint(
        ["owner", "conversation_id"],
        ["conversations.owner", "conversations.id"],
        ondelete="CASCADE",
    ),
)

# An ensemble as it was when a run used it: prompts, models, settings.
configs = Table(
    "configs",
    metadata,
    Column("hash", CleanText, primary_key=True),
    Column("ensemble", CleanText, nullable=False),
    Column("content", CleanText, nullable=False),  # JSON
    Column("created_at", UTCTime, nullable=False),
)

# One question and its answer. `state` is running, completed, failed, cancelled or interrupted.
runs = Table(
    "runs",
    metadata,
    Column("number", _BIG, Identity(always=False), primary_key=True),  # what the search index holds
    Column("id", CleanText, nullable=False, unique=True),  # sorts by time
    Column("owner", CleanText, nullable=False),
    Column("conversation_id", CleanText, nullable=False),
    Column("message_id", CleanText, nullable=False),
    Column("state", CleanText, nullable=False),
    Column("question", CleanText, nullable=False),
    Column("answer", CleanText, nullable=False),
    Column("ensemble", CleanText, nullable=False),
    Column("config_hash", ForeignKey("configs.hash"), nullable=False),
    Column("trace_id", CleanText, nullable=False),
    Column("worker_id", CleanText, nullable=False),
    Column("stream_agents", Boolean, nullable=False),
    Column("max_tokens", Integer),
    Column("timeout_s", Float),
    Column("created_at", UTCTime, nullable=False),
    Column("ended_at", UTCTime),
    Column("elapsed_ms", Float),
    Column("input_tokens", _BIG, nullable=False),
    Column("output_tokens", _BIG, nullable=False),
    Column("cached_tokens", _BIG, nullable=False),
    Column("reasoning_tokens", _BIG, nullable=False),
    Column("usage_estimated", Boolean, nullable=False),
    Column("cost_usd", Float),
    Column("degraded", Boolean, nullable=False),
    Column("degraded_by", CleanText),  # a JSON array of `DegradedBy`
    Column("missing", CleanText),  # a JSON array of `MissingAgent`
    Column("answered_by", CleanText),
    Column("code", CleanText),
    Column("error", CleanText),  # the sentence
    Column("retry_of", CleanText),
    Column("superseded_by", CleanText),  # by the run that was asked again instead
    Column("last_seq", Integer, nullable=False),  # of its events, once it has ended
    Column("events_expire_at", UTCTime),
    Column("events_expired", Boolean, nullable=False),
    Column("whole", CleanText),  # of the question: `Message.raw`
    Column("particulars", CleanText),  # JSON of `RequestOptions`; none: there are none
    Column("tool_calls", CleanText),  # of the answer: a JSON array of `ToolCall`
    ForeignKeyConstraint(
        ["owner", "conversation_id"],
        ["conversations.owner", "conversations.id"],
        ondelete="CASCADE",
    ),
    Index("ix_runs_conversation", "owner", "conversation_id", "id"),
    Index(
        "ix_runs_history",
        "owner",
        "id",
        sqlite_where=text("superseded_by IS NULL"),
        postgresql_where=text("superseded_by IS NULL"),
    ),
    Index(
        "ix_runs_unfinished",
        "worker_id",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    Index(
        "ix_runs_expiring",
        "events_expire_at",
        sqlite_where=text("events_expired IS FALSE"),
        postgresql_where=text("events_expired IS FALSE"),
    ),
)

# What each agent of a run said, once it has ended. `config_hash` is of the agent alone.
agent_answers = Table(
    "agent_answers",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("agent", CleanText, primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("state", CleanText, nullable=False),  # answered, failed or skipped
    Column("code", CleanText),
    Column("error", CleanText),
    Column("report", LargeBinary, nullable=False),  # AgentReport as JSON
    Column("config_hash", CleanText, nullable=False),
    Column("created_at", UTCTime, nullable=False),
)

# A run's events, in the pieces in which they were committed.
segments = Table(
    "segments",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("first_seq", Integer, primary_key=True),
    Column("last_seq", Integer, nullable=False),
    Column("owner", CleanText, nullable=False),
    Column("data", LargeBinary, nullable=False),  # lines, each a JSON array of events
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("owner", CleanText, primary_key=True),
    Column("key", CleanText, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", UTCTime, nullable=False, index=True),
)

# What somebody wants of a run that another process works on.
signals = Table(
    "signals",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("worker_id", CleanText, nullable=False, index=True),  # who is to hear it
    Column("stop", Boolean, nullable=False),
    Column("watched_until", UTCTime),  # somebody is reading it elsewhere
)

# The processes that work on runs, and when each was last heard of.
workers = Table(
    "workers",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("seen_at", UTCTime, nullable=False),
)
