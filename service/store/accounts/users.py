"""Users: list, find, add, change, delete."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from service.access.names import make_name_key
from service.store.accounts.admins import check_admin_remains, count_admins, is_active_admin
from service.store.accounts.changes import count_change, write_audited
from service.store.accounts.invites import use_invite
from service.store.accounts.records import NameTakenError, StoredUser
from service.store.accounts.sessions import delete_sessions
from service.store.accounts.tables import users
from service.store.audit.entries import AuditEntry
from service.store.database import Database
from service.store.lists.pages import Page

_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class UserStore:
    """All users. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_id: str) -> StoredUser | None:
        """Return the user with this id."""
        return await self._find(users.c.id == user_id)

    async def find_many(self, ids: Collection[str]) -> Mapping[str, StoredUser]:
        """Return the users with these ids, by id; others are missing."""
        query = sa.select(users).where(users.c.id.in_(ids))
        rows = await self._database.fetch_all(query, "read_accounts")
        return {row.id: _make_user(row) for row in rows}

    async def find_by_name(self, name: str) -> StoredUser | None:
        """Return the user with this name, without regard to case."""
        return await self._find(users.c.name_key == make_name_key(name))

    async def find_by_email(self, email: str) -> StoredUser | None:
        """Return the user with this e-mail address, without regard to case."""
        return await self._find(users.c.email_key == make_name_key(email))

    async def list_page(self, limit: int, offset: int) -> Page[StoredUser]:
        """Return a page of the users, oldest first."""

        async def work(connection: AsyncConnection) -> Page[StoredUser]:
            total = await connection.scalar(sa.select(sa.func.count()).select_from(users))
            query = sa.select(users).order_by(users.c.created_at, users.c.id)
            rows = await connection.execute(query.limit(limit).offset(offset))
            return Page([_make_user(row) for row in rows], total or 0)

        return await self._database.read(work, "read_accounts")

    async def has_admin(self) -> bool:
        """Return whether an administrator exists who is not disabled."""
        rows = await self._database.fetch_all(count_admins(), "read_accounts")
        return bool(rows[0][0])

    async def add(
        self,
        user: StoredUser,
        invite_hash: bytes | None = None,
        audit: Sequence[AuditEntry] = (),
    ) -> StoredUser:
        """Add a user, with the role and the address of the invitation if there is one.

        Raises NameTakenError, and InviteRefusedError.
        """

        async def work(connection: AsyncConnection) -> StoredUser:
            added = user
            if invite_hash is not None:
                added = await use_invite(connection, user, invite_hash)
            await _insert(connection, self._database.dialect, added)
            return added

        return await write_audited(self._database, work, audit)

    async def change(
        self,
        user_id: str,
        now: datetime,
        values: Mapping[str, Any],
        audit: Sequence[AuditEntry] = (),
    ) -> StoredUser | None:
        """Change columns of a user and return the new state, None for an unknown user.

        Raises LastAdminError when no administrator would remain, and NameTakenError.
        """

        async def work(connection: AsyncConnection) -> StoredUser | None:
            await _check_email(connection, user_id, values.get("email"))
            was_admin = await is_active_admin(connection, user_id)
            change = sa.update(users).where(users.c.id == user_id)
            await connection.execute(change.values(_encode({**values, "updated_at": now})))
            await count_change(connection)
            if was_admin:
                await check_admin_remains(connection)
            found = await connection.execute(sa.select(users).where(users.c.id == user_id))
            return next(map(_make_user, found), None)

        return await write_audited(self._database, work, audit)

    async def set_password(
        self,
        user_id: str,
        password_hash: str,
        current_session: str,
        audit: Sequence[AuditEntry] = (),
    ) -> bool:
        """Set the password of a user and end their sessions except `current_session`.

        Return False for an unknown user.
        """

        async def work(connection: AsyncConnection) -> bool:
            change = sa.update(users).where(users.c.id == user_id)
            values = {"password_hash": password_hash, "updated_at": datetime.now(UTC)}
            if not (await connection.execute(change.values(values))).rowcount:
                return False
            await delete_sessions(connection, user_id, current_session)
            await count_change(connection)
            return True

        return await write_audited(self._database, work, audit)

    async def rehash_password(self, user_id: str, old_hash: str, new_hash: str) -> None:
        """Store another hash of the same password, unless the password was changed meanwhile."""
        same = (users.c.id == user_id) & (users.c.password_hash == old_hash)
        change = sa.update(users).where(same).values(password_hash=new_hash)
        await self._database.execute(change, "change_accounts")

    async def delete(self, user_id: str, audit: Sequence[AuditEntry] = ()) -> bool:
        """Delete a user with their sessions and keys; return False for an unknown one.

        Raises LastAdminError.
        """

        async def work(connection: AsyncConnection) -> bool:
            was_admin = await is_active_admin(connection, user_id)
            gone = await connection.execute(sa.delete(users).where(users.c.id == user_id))
            await count_change(connection)
            if was_admin:
                await check_admin_remains(connection)
            return gone.rowcount > 0

        return await write_audited(self._database, work, audit)

    async def _find(self, condition: ColumnElement[bool]) -> StoredUser | None:
        rows = await self._database.fetch_all(sa.select(users).where(condition), "read_accounts")
        return _make_user(rows[0]) if rows else None


async def _insert(connection: AsyncConnection, dialect: str, user: StoredUser) -> None:
    await _check_email(connection, user.id, user.email)
    row = {**_encode(asdict(user)), "name_key": make_name_key(user.name)}
    statement = _INSERTS[dialect](users).values(row).on_conflict_do_nothing()
    if not (await connection.execute(statement)).rowcount:
        raise NameTakenError("name")


async def _check_email(connection: AsyncConnection, user_id: str, email: str | None) -> None:
    if email is None:
        return
    query = sa.select(users.c.id).where(
        users.c.email_key == make_name_key(email), users.c.id != user_id
    )
    if await connection.scalar(query) is not None:
        raise NameTakenError("email")


def _encode(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of these values of StoredUser."""
    row = dict(values)
    if "email" in row:
        row["email_key"] = make_name_key(row["email"]) if row["email"] else None
    if "limits" in row:
        row["limits"] = json.dumps(row["limits"]) if row["limits"] is not None else None
    return row


def _make_user(row: Row[Any]) -> StoredUser:
    return StoredUser(
        id=row.id,
        name=row.name,
        role=row.role,
        email=row.email,
        password_hash=row.password_hash,
        disabled_at=row.disabled_at,
        limits=json.loads(row.limits) if row.limits else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
