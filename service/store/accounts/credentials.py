"""The rows that decide whether an API key or a user may do something, read by many ids at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.access.principal import Role
from service.access.scopes import ROLES
from service.store.accounts.tables import api_keys, users
from service.store.database import Database

_USER = (users.c.id, users.c.name, users.c.role, users.c.disabled_at, users.c.limits)


@dataclass(frozen=True, slots=True)
class ActiveUser:
    """A user as the source of permissions. `limits` has the keys of a rule in `limits.toml`."""

    id: str
    name: str
    role: Role
    is_disabled: bool
    limits: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """A key as the source of permissions; `scopes` is None for all scopes of the user's role."""

    id: str
    user: ActiveUser
    secret_hash: bytes
    scopes: frozenset[str] | None
    limits: Mapping[str, Any] | None
    expires_at: datetime | None
    is_revoked: bool

    def find_fault(self, now: datetime) -> str | None:
        """Return the reason for which the key cannot be used at `now`, None if it can."""
        if self.is_revoked:
            return "The key was revoked."
        if self.expires_at is not None and self.expires_at <= now:
            return "The key has expired."
        return "The user of the key is disabled." if self.user.is_disabled else None


class CredentialRows:
    """Reads keys and users, and writes when keys were used. Raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_users(self, ids: Collection[str]) -> Mapping[str, ActiveUser]:
        """Return the users with these ids, by id; others are missing."""
        query = sa.select(*_USER).where(users.c.id.in_(ids))
        rows = await self._database.fetch_all(query, "read_accounts")
        return {row.id: _decode_user(row) for row in rows}

    async def read_keys(self, ids: Collection[str]) -> Mapping[str, ActiveKey]:
        """Return the keys with these ids and their users, by id; others are missing."""
        columns = (
            api_keys.c.id.label("key_id"), api_keys.c.secret_hash, api_keys.c.scopes,
            api_keys.c.limits.label("key_limits"), api_keys.c.expires_at, api_keys.c.revoked_at,
        )  # fmt: skip
        joined = api_keys.join(users, users.c.id == api_keys.c.user_id)
        query = sa.select(*columns, *_USER).select_from(joined).where(api_keys.c.id.in_(ids))
        rows = await self._database.fetch_all(query, "read_accounts")
        return {row.key_id: _decode_key(row) for row in rows}

    async def write_last_uses(self, last_uses: Mapping[str, datetime]) -> None:
        """Store when keys were used last, by their ids; a later time in the database remains."""
        update = sa.update(api_keys).where(
            api_keys.c.id == sa.bindparam("key"),
            sa.func.coalesce(api_keys.c.last_used_at < sa.bindparam("at"), sa.true()),
        )

        async def work(connection: AsyncConnection) -> None:
            values = [{"key": key, "at": at} for key, at in sorted(last_uses.items())]
            await connection.execute(update.values(last_used_at=sa.bindparam("at")), values)

        await self._database.write(work, "change_accounts")


def _decode_user(row: Row[Any]) -> ActiveUser:
    role: Role = row.role if row.role in ROLES else "viewer"  # of a newer version
    return ActiveUser(row.id, row.name, role, row.disabled_at is not None, _decode(row.limits))


def _decode_key(row: Row[Any]) -> ActiveKey:
    return ActiveKey(
        id=row.key_id,
        user=_decode_user(row),
        secret_hash=row.secret_hash,
        scopes=None if (granted := _decode(row.scopes)) is None else frozenset(granted),
        limits=_decode(row.key_limits),
        expires_at=row.expires_at,
        is_revoked=row.revoked_at is not None,
    )


def _decode(text: str | None) -> Any:
    return None if text is None else json.loads(text)
