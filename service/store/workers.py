"""Registered workers, signals between them, unfinished runs, and expiry.

The service's own view of all owners' rows: `Scope` does not restrict these statements, and no API
uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.records import Signal, StoredRun
from service.store.rows import RUN_COLUMNS, decode_run
from service.store.schema import idempotency_keys, runs, segments, signals, workers

_RUNS_PER_TRANSACTION = 200  # the journal waits for this transaction


class Workers:
    """The workers of one database. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, worker_id: str, now: datetime) -> bool:
        """Store that the worker is alive; return whether it was registered before."""
        return await self._database.write(partial(_register, worker_id, now))

    async def take_signals(self, worker_id: str) -> list[Signal]:
        """Return the signals for the worker's runs, and delete those that request a stop."""
        of_worker = signals.c.worker_id == worker_id
        found = await self._fetch_all(sa.select(signals).where(of_worker))
        stopped = [row.run_id for row in found if row.stop]
        if stopped:
            await self._database.execute(sa.delete(signals).where(signals.c.run_id.in_(stopped)))
        return [Signal(row.run_id, row.stop, row.watched_until) for row in found]

    async def list_unfinished_runs(self, worker_id: str) -> list[StoredRun]:
        """Return the worker's runs without an end, oldest first."""
        rows = await self._fetch_all(
            sa.select(*RUN_COLUMNS)
            .where(runs.c.worker_id == worker_id, runs.c.state == "running")
            .order_by(runs.c.id)
        )
        return [decode_run(row) for row in rows]

    async def list_stale(self, before: datetime, except_for: str) -> list[str]:
        """Return the workers, except `except_for`, without a heartbeat since `before`.

        A worker with unfinished runs that is not registered is stale, too.
        """
        silent = sa.select(workers.c.id).where(workers.c.seen_at < before)
        unknown = sa.select(runs.c.worker_id).where(
            runs.c.state == "running", runs.c.worker_id.not_in(sa.select(workers.c.id))
        )
        found = await self._fetch_all(silent.union(unknown))
        return sorted({row[0] for row in found} - {except_for})

    async def deregister(self, worker_id: str) -> None:
        """Remove the worker, which has no unfinished runs."""
        await self._database.execute(sa.delete(workers).where(workers.c.id == worker_id))

    async def delete_expired(self, now: datetime) -> int:
        """Delete expired events and keys; return how many runs lost their events."""
        await self._database.execute(
            sa.delete(idempotency_keys).where(idempotency_keys.c.expires_at <= now)
        )
        expired = 0
        while True:
            count = await self._database.write(partial(_delete_expired_events, now))
            expired += count
            if count < _RUNS_PER_TRANSACTION:
                return expired

    async def _fetch_all(self, statement: sa.Executable) -> Sequence[Row[Any]]:
        return await self._database.fetch_all(statement, "maintain")


async def _register(worker_id: str, now: datetime, connection: AsyncConnection) -> bool:
    seen = sa.update(workers).where(workers.c.id == worker_id).values(seen_at=now)
    if (await connection.execute(seen)).rowcount:
        return True
    await connection.execute(sa.insert(workers).values(id=worker_id, seen_at=now))
    return False


async def _delete_expired_events(now: datetime, connection: AsyncConnection) -> int:
    due = (
        sa.select(runs.c.id)
        .where(runs.c.events_expired.is_(False), runs.c.events_expire_at <= now)
        .order_by(runs.c.events_expire_at)
        .limit(_RUNS_PER_TRANSACTION)
        # Two workers that run this at the same time each delete other rows.
        .with_for_update(skip_locked=True)
    )
    ids = list(await connection.scalars(due))
    if ids:
        await connection.execute(sa.delete(segments).where(segments.c.run_id.in_(ids)))
        mark = sa.update(runs).where(runs.c.id.in_(ids)).values(events_expired=True)
        await connection.execute(mark)
    return len(ids)
