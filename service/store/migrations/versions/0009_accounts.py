"""The tables of accounts: users, web sessions, API keys, invitations, and counters of changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_TABLES = ("users", "web_sessions", "api_keys", "invites", "revisions")


def upgrade() -> None:
    _users()
    _web_sessions()
    _api_keys()
    _invites()
    op.create_table(
        "revisions", _text("name", key=True), sa.Column("number", sa.Integer, nullable=False)
    )
    op.execute("INSERT INTO revisions (name, number) VALUES ('accounts', 0)")


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)


def _text(name: str, *, null: bool = False, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null, primary_key=key)


def _hash(name: str, *, key: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False, primary_key=key)


def _time(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _user_id(table: str) -> sa.Column[str]:
    user = sa.ForeignKey("users.id", ondelete="CASCADE", name=f"fk_{table}_user_id")
    return sa.Column("user_id", sa.Text, user, nullable=False)


def _users() -> None:
    op.create_table(
        "users",
        _text("id", key=True),
        _text("name"),
        _text("name_key"),
        _text("email", null=True),
        _text("email_key", null=True),
        _text("role"),
        _text("password_hash", null=True),
        _time("disabled_at", null=True),
        _text("limits", null=True),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("name_key", name="uq_users_name_key"),
        sa.UniqueConstraint("email_key", name="uq_users_email_key"),
    )
    op.create_index("ix_users_recent", "users", ["created_at", "id"])


def _web_sessions() -> None:
    op.create_table(
        "web_sessions",
        _text("id", key=True),
        _hash("token_hash"),
        _user_id("web_sessions"),
        _time("created_at"),
        _time("last_seen_at"),
        _time("expires_at"),
        _text("address", null=True),
        _text("user_agent", null=True),
        sa.UniqueConstraint("token_hash", name="uq_web_sessions_token_hash"),
    )
    op.create_index("ix_web_sessions_user_id", "web_sessions", ["user_id"])
    op.create_index("ix_web_sessions_expires_at", "web_sessions", ["expires_at"])


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        _text("id", key=True),
        _user_id("api_keys"),
        _text("name"),
        _hash("secret_hash"),
        _text("scopes", null=True),
        _text("limits", null=True),
        _time("created_at"),
        _time("expires_at", null=True),
        _time("revoked_at", null=True),
        _time("last_used_at", null=True),
        _text("replaced_by", null=True),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"])


def _invites() -> None:
    op.create_table(
        "invites",
        _hash("token_hash", key=True),
        _text("role"),
        _text("email", null=True),
        _text("created_by", null=True),
        _time("created_at"),
        _time("expires_at"),
        _time("used_at", null=True),
    )
    op.create_index("ix_invites_expires_at", "invites", ["expires_at"])
