"""The tables of accounts: users, their web sessions, their API keys, invitations, attempts.

A user's runs and conversations have `users.id` as their `owner`. Secrets are stored as hashes only.
Limits and scopes are JSON; NULL in `api_keys.scopes` stands for all scopes of the user's role.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, Table

from service.store.column_types import CleanText, UTCTime
from service.store.schema import metadata

# `name_key` and `email_key` are case-folded: two names that differ only in case are one.
users = Table(
    "users",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("name", CleanText, nullable=False),
    Column("name_key", CleanText, nullable=False, unique=True),
    Column("email", CleanText),
    Column("email_key", CleanText, unique=True),
    Column("role", CleanText, nullable=False),  # admin, user or viewer
    Column("password_hash", CleanText),  # argon2id; NULL: no login with a password
    Column("disabled_at", UTCTime),
    Column("limits", CleanText),  # JSON, the keys of a rule in limits.toml
    Column("created_at", UTCTime, nullable=False),
    Column("updated_at", UTCTime, nullable=False),
    Index("ix_users_recent", "created_at", "id"),
)

# The logins of browsers. `id` is shown to the user; the cookie holds the token.
web_sessions = Table(
    "web_sessions",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UTCTime, nullable=False),
    Column("last_seen_at", UTCTime, nullable=False),
    Column("expires_at", UTCTime, nullable=False, index=True),
    Column("address", CleanText),
    Column("user_agent", CleanText),
)

# `id` is the public part of the key: its twelve characters after `sk-lsse-`.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", CleanText, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),  # SHA-256
    Column("scopes", CleanText),  # a JSON array
    Column("limits", CleanText),  # JSON, the keys of a rule in limits.toml
    Column("created_at", UTCTime, nullable=False),
    Column("expires_at", UTCTime),
    Column("revoked_at", UTCTime),
    Column("last_used_at", UTCTime),
    Column("replaced_by", CleanText),  # the id of the key that a rotation created
)

# Tokens with which a person may register.
invites = Table(
    "invites",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("role", CleanText, nullable=False),
    Column("email", CleanText),
    Column("created_by", CleanText),  # the id of a user; NULL: the command line
    Column("created_at", UTCTime, nullable=False),
    Column("expires_at", UTCTime, nullable=False, index=True),
    Column("used_at", UTCTime),
)

# Attempts to log in or to register. `subject` is a hash: people type passwords as names.
login_attempts = Table(
    "login_attempts",
    metadata,
    Column("subject", CleanText, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("last_at", UTCTime, nullable=False, index=True),
)

# Counters of changes. Each change of users, sessions or keys raises `accounts` in its transaction,
# and every process compares the number once per second.
revisions = Table(
    "revisions",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("number", Integer, nullable=False),
)
