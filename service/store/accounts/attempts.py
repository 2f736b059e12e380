"""Attempts to log in and to register, counted in the database when there is no Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from service.access.backoff import AttemptCount, Backoff
from service.store.accounts.tables import login_attempts
from service.store.database import Database

_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_FORGET_AFTER = timedelta(days=1)


class DatabaseAttempts:
    """The counts of all processes of one database. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, subjects: Mapping[str, Backoff]) -> float:
        """Count an attempt on every subject and return 0; or count none and return the wait.

        The wait is in seconds. Attempts of several processes on one subject follow one another.
        """
        now = datetime.now(UTC)

        async def work(connection: AsyncConnection) -> float:
            counts = await self._lock(connection, sorted(subjects))
            waits = [counts[each].wait_s(now.timestamp(), subjects[each]) for each in subjects]
            if max(waits) > 0:
                return max(waits)
            for subject, backoff in subjects.items():
                after = counts[subject].after_attempt(now.timestamp(), backoff)
                await _store(connection, subject, after.attempts, now)
            return 0.0

        return await self._database.write(work, "change_accounts")

    async def undo(self, subjects: Sequence[str]) -> None:
        """Take back one attempt on each subject."""
        is_one = login_attempts.c.subject.in_(subjects) & (login_attempts.c.attempts > 0)
        fewer = sa.update(login_attempts).where(is_one)
        await self._database.execute(
            fewer.values(attempts=login_attempts.c.attempts - 1), "change_accounts"
        )

    async def forget(self, subjects: Sequence[str]) -> None:
        """Forget all attempts on the subjects, and those of others that are a day old."""
        is_old = login_attempts.c.last_at < datetime.now(UTC) - _FORGET_AFTER
        gone = login_attempts.c.subject.in_(subjects) | is_old
        await self._database.execute(sa.delete(login_attempts).where(gone), "change_accounts")

    async def close(self) -> None:
        """Do nothing: the database belongs to the store."""

    async def _lock(
        self, connection: AsyncConnection, subjects: Sequence[str]
    ) -> Mapping[str, AttemptCount]:
        """Return the counts, locked until the end of the transaction."""
        insert = _INSERTS[self._database.dialect](login_attempts).on_conflict_do_nothing()
        start = datetime.fromtimestamp(0, UTC)
        for subject in subjects:  # in one order, so that two transactions cannot deadlock
            await connection.execute(insert.values(subject=subject, attempts=0, last_at=start))
        query = sa.select(login_attempts).where(login_attempts.c.subject.in_(subjects))
        rows = await connection.execute(query.order_by(login_attempts.c.subject).with_for_update())
        return {row.subject: AttemptCount(row.attempts, row.last_at.timestamp()) for row in rows}


async def _store(connection: AsyncConnection, subject: str, attempts: int, now: datetime) -> None:
    changed = sa.update(login_attempts).where(login_attempts.c.subject == subject)
    await connection.execute(changed.values(attempts=attempts, last_at=now))
