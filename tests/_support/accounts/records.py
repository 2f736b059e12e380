"""Users, keys and sessions as store records with defaults."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from service.store.accounts.records import StoredKey, StoredUser, WebSession

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_user(name: str = "alice", **fields: Any) -> StoredUser:
    """Return a user with an id that is derived from the name."""
    user = StoredUser(id=f"id-{name}", name=name, role="user", created_at=NOW, updated_at=NOW)
    return replace(user, **fields)


def make_api_key(key_id: str = "0123456789ab", **fields: Any) -> StoredKey:
    """Return a key of the user that `make_user` returns."""
    key = StoredKey(
        id=key_id, user_id="id-alice", name="laptop", secret_hash=b"hash", created_at=NOW
    )
    return replace(key, **fields)


def make_session(token_hash: bytes = b"token", **fields: Any) -> WebSession:
    """Return a session of the user that `make_user` returns."""
    session = WebSession(
        id=f"session-{token_hash.decode()}",
        token_hash=token_hash,
        user_id="id-alice",
        created_at=NOW,
        last_seen_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    return replace(session, **fields)
