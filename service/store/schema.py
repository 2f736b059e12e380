"""The tables, for SQLite and PostgreSQL alike. The migrations create them.

A row of a user's data names its `owner`; `store/scope.py` restricts queries to one. `configs` and
`workers` belong to the service. The search index and the counts are in the migrations alone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    text,
)

from service.store.column_types import CleanText, UTCTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite generates numbers for INTEGER only

# A caller may choose the id of a conversation, so an id is unique for its owner only.
conversations = Table(
    "conversations",
    metadata,
    Column("owner", CleanText, primary_key=True),
    Column("id", CleanText, primary_key=True),
    Column("title", CleanText, nullable=False),
    Column("created_at", UTCTime, nullable=False),
    Column("updated_at", UTCTime, nullable=False),
    Column("user_id", CleanText),  # the caller's label for the user of a session
    Index("ix_conversations_recent", "owner", "updated_at", "id"),
    Index("ix_conversations_user", "owner", "user_id", "updated_at", "id"),
)

# Earlier turns in the first request of a conversation; all later turns are runs.
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

# The state of an ensemble when a run used it: prompts, models, settings.
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
    Column("number", _BIG, Identity(always=False), primary_key=True),  # the key in the search index
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
    Column("finish_reason", CleanText),  # OpenAI's; NULL before migration 0008
    Column("code", CleanText),
    Column("error", CleanText),  # the message
    Column("retry_of", CleanText),
    Column("superseded_by", CleanText),  # the id of the run that retries this one
    Column("last_seq", Integer, nullable=False),  # of its events; set when it ends
    Column("events_expire_at", UTCTime),
    Column("events_expired", Boolean, nullable=False),
    Column("whole", CleanText),  # of the question: `Message.raw`
    Column("particulars", CleanText),  # JSON, see `rows._Particulars`; NULL for the defaults
    Column("tool_calls", CleanText),  # of the answer: a JSON array of `ToolCall`
    Column("findings", CleanText),  # of the strategy: JSON; NULL for none
    Column("recording", LargeBinary),  # `runs/projections/recording.py`; expires with the events
    # The words to index, NULL for those of the text itself; see `search/words.py`.
    Column("question_words", CleanText),
    Column("answer_words", CleanText),
    Column("attempt", Integer, nullable=False, server_default="1"),  # 2 after a takeover
    Column("key_id", CleanText),  # of the API key that the request carried
    Column("interrupted_at", Integer),  # the last event before the gap that a takeover left
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

# The result of each agent of a run. `config_hash` covers the agent alone.
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

# A run's events; each row holds those of one commit.
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

# Requests to a run that another process executes.
signals = Table(
    "signals",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("worker_id", CleanText, nullable=False, index=True),  # the receiver
    Column("stop", Boolean, nullable=False),
    # Marks of a reader in another process, counted: the receiver compares them, not clocks.
    Column("watched", Integer, nullable=False, server_default="0"),
)

# The processes that execute runs. `beat` counts heartbeats; `seen_at` is the time of the last one,
# by the database's clock, for operators. NULL in `lease_s`: a version that had no leases.
workers = Table(
    "workers",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("seen_at", UTCTime, nullable=False),
    Column("beat", Integer, nullable=False, server_default="0"),
    Column("lease_s", Float),
)
