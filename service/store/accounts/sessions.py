"""Web sessions: the logins of browsers, found by the hash of their token."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.accounts.changes import count_change, write_audited
from service.store.accounts.records import WebSession
from service.store.accounts.tables import web_sessions
from service.store.audit.entries import AuditEntry
from service.store.database import Database

_MOST_OF_USER = 50  # a script that logs in before every request leaves no more


class WebSessionStore:
    """The sessions of all users. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, session: WebSession, audit: Sequence[AuditEntry] = ()) -> None:
        """Store a session; delete expired ones, and the oldest of a user who has too many."""

        async def work(connection: AsyncConnection) -> bool:
            of_user = sa.select(web_sessions.c.id).where(web_sessions.c.user_id == session.user_id)
            newest_first = of_user.order_by(
                web_sessions.c.created_at.desc(), web_sessions.c.id.desc()
            )
            superfluous = (await connection.scalars(newest_first.offset(_MOST_OF_USER - 1))).all()
            is_over = web_sessions.c.expires_at < session.created_at
            is_superfluous = web_sessions.c.id.in_(superfluous)
            await connection.execute(sa.delete(web_sessions).where(is_over | is_superfluous))
            await connection.execute(sa.insert(web_sessions).values(asdict(session)))
            if superfluous:
                await count_change(connection)
            return True

        await write_audited(self._database, work, audit)

    async def find_many(self, token_hashes: Collection[bytes]) -> Sequence[WebSession]:
        """Return the sessions with these tokens, also expired ones."""
        query = sa.select(web_sessions).where(web_sessions.c.token_hash.in_(token_hashes))
        rows = await self._database.fetch_all(query, "read_accounts")
        return [_make_session(row) for row in rows]

    async def list_of(self, user_id: str) -> Sequence[WebSession]:
        """Return a user's sessions, the last used first."""
        query = sa.select(web_sessions).where(web_sessions.c.user_id == user_id)
        order = (web_sessions.c.last_seen_at.desc(), web_sessions.c.id.desc())
        rows = await self._database.fetch_all(query.order_by(*order), "read_accounts")
        return [_make_session(row) for row in rows]

    async def note_seen(self, seen: Mapping[str, datetime]) -> None:
        """Store when sessions were used, by their ids; a later time in the database remains."""
        if not seen:
            return
        update = sa.update(web_sessions).where(
            web_sessions.c.id == sa.bindparam("session"),
            web_sessions.c.last_seen_at < sa.bindparam("at"),
        )

        async def work(connection: AsyncConnection) -> None:
            values = [{"session": each, "at": at} for each, at in sorted(seen.items())]
            await connection.execute(update.values(last_seen_at=sa.bindparam("at")), values)

        await self._database.write(work, "change_accounts")

    async def delete(self, user_id: str, session_id: str, audit: Sequence[AuditEntry] = ()) -> bool:
        """End a session of the user; return False if there is no such one."""
        is_it = (web_sessions.c.user_id == user_id) & (web_sessions.c.id == session_id)

        async def work(connection: AsyncConnection) -> bool:
            return await _delete(connection, is_it)

        return await write_audited(self._database, work, audit)


async def delete_sessions(connection: AsyncConnection, user_id: str, current_id: str = "") -> None:
    """End all sessions of a user except `current_id`, in the transaction of `connection`."""
    others = (web_sessions.c.user_id == user_id) & (web_sessions.c.id != current_id)
    await _delete(connection, others)


async def _delete(connection: AsyncConnection, condition: ColumnElement[bool]) -> bool:
    gone = await connection.execute(sa.delete(web_sessions).where(condition))
    if gone.rowcount:
        await count_change(connection)
    return gone.rowcount > 0


def _make_session(row: Row[Any]) -> WebSession:
    return WebSession(
        id=row.id,
        token_hash=row.token_hash,
        user_id=row.user_id,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        expires_at=row.expires_at,
        address=row.address or "",
        user_agent=row.user_agent or "",
    )
