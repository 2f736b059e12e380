"""API keys: list, add, change, revoke, rotate. The keys themselves are not stored, only hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.accounts.changes import count_change, write_audited
from service.store.accounts.records import StoredKey
from service.store.accounts.tables import api_keys
from service.store.audit.entries import AuditEntry
from service.store.database import Database
from service.store.lists.pages import Page


class KeyStore:
    """The keys of all users. Every method raises StorageUnavailable.

    `user_id` restricts a method to the keys of one user; None means all users.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(self, user_id: str | None, limit: int, offset: int) -> Page[StoredKey]:
        """Return a page of the keys that are not revoked, newest first."""
        condition = sa.and_(_is_of(user_id), api_keys.c.revoked_at.is_(None))

        async def work(connection: AsyncConnection) -> Page[StoredKey]:
            counted = sa.select(sa.func.count()).select_from(api_keys).where(condition)
            order = (api_keys.c.created_at.desc(), api_keys.c.id.desc())
            query = sa.select(api_keys).where(condition).order_by(*order)
            rows = await connection.execute(query.limit(limit).offset(offset))
            return Page([_make_key(row) for row in rows], await connection.scalar(counted) or 0)

        return await self._database.read(work, "read_accounts")

    async def find(self, user_id: str | None, key_id: str) -> StoredKey | None:
        """Return a key that is not revoked."""
        query = sa.select(api_keys).where(_is_usable(user_id, key_id))
        rows = await self._database.fetch_all(query, "read_accounts")
        return _make_key(rows[0]) if rows else None

    async def add(self, key: StoredKey, audit: Sequence[AuditEntry] = ()) -> None:
        """Store a new key."""

        async def work(connection: AsyncConnection) -> bool:
            await connection.execute(sa.insert(api_keys).values(_encode(asdict(key))))
            return True

        await write_audited(self._database, work, audit)

    async def change(
        self,
        user_id: str | None,
        key_id: str,
        values: Mapping[str, Any],
        audit: Sequence[AuditEntry] = (),
    ) -> StoredKey | None:
        """Change columns of a key that is not revoked; return its new state, None without one."""

        async def work(connection: AsyncConnection) -> StoredKey | None:
            return await _change(connection, _is_usable(user_id, key_id), values)

        return await write_audited(self._database, work, audit)

    async def replace(
        self,
        replaced: StoredKey,
        new: StoredKey,
        until: datetime,
        audit: Sequence[AuditEntry] = (),
    ) -> bool:
        """Add `new`; `replaced` expires at `until`. Return False if that one was revoked."""
        expires_at = min(until, replaced.expires_at) if replaced.expires_at else until
        values = {"expires_at": expires_at, "replaced_by": new.id}

        async def work(connection: AsyncConnection) -> bool:
            usable = _is_usable(replaced.user_id, replaced.id)
            if await _change(connection, usable, values) is None:
                return False
            await connection.execute(sa.insert(api_keys).values(_encode(asdict(new))))
            return True

        return await write_audited(self._database, work, audit)


async def _change(
    connection: AsyncConnection, condition: ColumnElement[bool], values: Mapping[str, Any]
) -> StoredKey | None:
    query = sa.select(api_keys).where(condition).with_for_update()
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        return None
    is_it = api_keys.c.id == found.id
    await connection.execute(sa.update(api_keys).where(is_it).values(_encode(values)))
    await count_change(connection)
    return _make_key((await connection.execute(sa.select(api_keys).where(is_it))).one())


def _is_usable(user_id: str | None, key_id: str) -> ColumnElement[bool]:
    return sa.and_(_is_of(user_id), api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))


def _is_of(user_id: str | None) -> ColumnElement[bool]:
    return sa.true() if user_id is None else api_keys.c.user_id == user_id


def _encode(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of these values of StoredKey."""
    as_json = {
        name: json.dumps(values[name])
        for name in ("scopes", "limits")
        if values.get(name) is not None
    }
    return {**values, **as_json}


def _make_key(row: Row[Any]) -> StoredKey:
    return StoredKey(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        secret_hash=row.secret_hash,
        created_at=row.created_at,
        scopes=json.loads(row.scopes) if row.scopes else None,
        limits=json.loads(row.limits) if row.limits else None,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        replaced_by=row.replaced_by,
    )
