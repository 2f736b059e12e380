"""Creates the tables: conversations, runs and their events, keys, signals, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIME = sa.DateTime(timezone=True)
_TABLES = (
    "conversations", "messages", "configs", "runs", "agent_answers", "segments",
    "idempotency_keys", "signals", "workers",
)  # fmt: skip


def upgrade() -> None:
    _conversations()
    _runs()
    _of_runs()
    _of_workers()


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)


def _text(name: str, *, null: bool = False, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null, primary_key=key)


def _time(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, _TIME, nullable=null)


def _run_id(table: str, *, key: bool = True) -> sa.Column[str]:
    parent = sa.ForeignKey("runs.id", ondelete="CASCADE", name=f"fk_{table}_run_id")
    return sa.Column("run_id", sa.Text, parent, nullable=False, primary_key=key)


def _conversation_of(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["owner", "conversation_id"],
        ["conversations.owner", "conversations.id"],
        ondelete="CASCADE",
        name=f"fk_{table}_owner_conversation_id",
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        _text("owner", key=True),
        _text("id", key=True),
        _text("title"),
        _time("created_at"),
        _time("updated_at"),
    )
    op.create_index("ix_conversations_recent", "conversations", ["owner", "updated_at", "id"])
    op.create_table(
        "messages",
        _text("owner", key=True),
        _text("conversation_id", key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        _text("role"),
        _text("content"),
        _time("created_at"),
        _conversation_of("messages"),
    )


def _runs() -> None:
    op.create_table(
        "configs",
        _text("hash", key=True),
        _text("ensemble"),
        _text("content"),
        _time("created_at"),
    )
    op.create_table(
        "runs",
        sa.Column("number", _BIG, sa.Identity(always=False), primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        *map(_text, ("owner", "conversation_id", "message_id", "state", "question", "answer")),
        _text("ensemble"),
        _text("config_hash"),
        _text("trace_id"),
        _text("worker_id"),
        sa.Column("stream_agents", sa.Boolean, nullable=False),
        sa.Column("max_tokens", sa.Integer),
        sa.Column("timeout_s", sa.Float),
        _time("created_at"),
        _time("ended_at", null=True),
        sa.Column("elapsed_ms", sa.Float),
        sa.Column("input_tokens", _BIG, nullable=False),
        sa.Column("output_tokens", _BIG, nullable=False),
        sa.Column("cached_tokens", _BIG, nullable=False),
        sa.Column("reasoning_tokens", _BIG, nullable=False),
        sa.Column("usage_estimated", sa.Boolean, nullable=False),
        sa.Column("cost_usd", sa.Float),
        sa.Column("degraded", sa.Boolean, nullable=False),
        _text("answered_by", null=True),
        _text("code", null=True),
        _text("error", null=True),
        _text("retry_of", null=True),
        _text("superseded_by", null=True),
        sa.Column("last_seq", sa.Integer, nullable=False),
        _time("events_expire_at", null=True),
        sa.Column("events_expired", sa.Boolean, nullable=False),
        sa.UniqueConstraint("id", name="uq_runs_id"),
        sa.ForeignKeyConstraint(["config_hash"], ["configs.hash"], name="fk_runs_config_hash"),
        _conversation_of("runs"),
    )
    op.create_index("ix_runs_conversation", "runs", ["owner", "conversation_id", "id"])
    _partial_index("ix_runs_history", ["owner", "id"], "superseded_by IS NULL")
    _partial_index("ix_runs_unfinished", ["worker_id"], "state = 'running'")
    _partial_index("ix_runs_expiring", ["events_expire_at"], "events_expired IS FALSE")


def _partial_index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "runs", columns, sqlite_where=where, postgresql_where=where)


def _of_runs() -> None:
    op.create_table(
        "agent_answers",
        _run_id("agent_answers"),
        _text("agent", key=True),
        _text("owner"),
        _text("state"),
        _text("code", null=True),
        _text("error", null=True),
        sa.Column("report", sa.LargeBinary, nullable=False),
        _text("config_hash"),
        _time("created_at"),
    )
    op.create_table(
        "segments",
        _run_id("segments"),
        sa.Column("first_seq", sa.Integer, primary_key=True),
        sa.Column("last_seq", sa.Integer, nullable=False),
        _text("owner"),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "idempotency_keys",
        _text("owner", key=True),
        _text("key", key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        _run_id("idempotency_keys", key=False),
        _time("expires_at"),
    )
    op.create_index("ix_idempotency_keys_run_id", "idempotency_keys", ["run_id"])
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])


def _of_workers() -> None:
    op.create_table(
        "signals",
        _run_id("signals"),
        _text("owner"),
        _text("worker_id"),
        sa.Column("stop", sa.Boolean, nullable=False),
        _time("watched_until", null=True),
    )
    op.create_index("ix_signals_worker_id", "signals", ["worker_id"])
    op.create_table("workers", _text("id", key=True), _time("seen_at"))
