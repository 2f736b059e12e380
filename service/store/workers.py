"""Registered workers, signals between them, unfinished runs, and expiry.

The service's own view of all owners' rows: `Scope` does not restrict these statements, and no API
uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.budgets.budgets import Budgets
from service.store.database import Database
from service.store.records import FIRST_ATTEMPT, StoredRun
from service.store.rows import RUN_COLUMNS, decode_run
from service.store.schema import idempotency_keys, runs, segments, signals, workers
from service.store.scope import ALL_OWNERS
from service.store.usage.report import UsageStore

_RUNS_PER_TRANSACTION = 200  # the journal waits for this transaction

# Executed several times per second: built each time, they took a hundredth of a core.
_SIGNALS = sa.select(signals).where(signals.c.worker_id == sa.bindparam("worker"))
_BEATS = sa.select(workers.c.id, workers.c.beat, workers.c.lease_s, workers.c.seen_at)
_UNREGISTERED = (
    sa.select(runs.c.worker_id)
    .where(runs.c.state == "running", runs.c.worker_id.not_in(sa.select(workers.c.id)))
    .distinct()
)


@dataclass(frozen=True, slots=True)
class Signal:
    """A request of another process to a run: to stop, or to continue because it has a reader.

    `watched` counts the marks of readers: a new number means that a reader is there.
    """

    run_id: str
    stop: bool
    watched: int


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """The heartbeat of a worker, as one observation finds it.

    `beat` is None for a worker that has running runs and is not registered, `lease_s` for one of a
    version without leases. `seen_at` is only compared for equality: such a version changes nothing
    else.
    """

    worker_id: str
    beat: int | None
    lease_s: float | None = None
    seen_at: datetime | None = None


class Workers:
    """The workers of one database. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._budgets = Budgets(database)
        self._usage = UsageStore(database)

    async def register(self, worker_id: str, lease_s: float) -> bool:
        """Store that the worker is alive; return whether it was registered before."""
        return await self._database.write(partial(_register, worker_id, lease_s))

    async def take_signals(self, worker_id: str) -> list[Signal]:
        """Return the signals for the worker's runs, and delete those that request a stop."""
        found = await self._fetch_all(_SIGNALS.params(worker=worker_id))
        stopped = [row.run_id for row in found if row.stop]
        if stopped:
            await self._execute(sa.delete(signals).where(signals.c.run_id.in_(stopped)))
        return [Signal(row.run_id, row.stop, row.watched) for row in found]

    async def list_unfinished_runs(self, worker_id: str) -> list[StoredRun]:
        """Return the worker's runs without an end, oldest first."""
        rows = await self._fetch_all(
            sa.select(*RUN_COLUMNS)
            .where(runs.c.worker_id == worker_id, runs.c.state == "running")
            .order_by(runs.c.id)
        )
        return [decode_run(row) for row in rows]

    async def list_taken_over(self, run_ids: Sequence[str]) -> list[StoredRun]:
        """Return those of the runs that another worker has taken over since their start."""
        rows = await self._fetch_all(
            sa.select(*RUN_COLUMNS).where(runs.c.id.in_(run_ids), runs.c.attempt > FIRST_ATTEMPT)
        )
        return [decode_run(row) for row in rows]

    async def list_beats(self, except_for: str) -> list[WorkerBeat]:
        """Return the last heartbeat of every worker but `except_for`.

        A worker that is not registered is returned while it has running runs.
        """
        beats = [
            WorkerBeat(row.id, row.beat, row.lease_s, row.seen_at)
            for row in await self._fetch_all(_BEATS)
        ]
        beats += [WorkerBeat(row[0], None) for row in await self._fetch_all(_UNREGISTERED)]
        return sorted((b for b in beats if b.worker_id != except_for), key=lambda b: b.worker_id)

    async def take_over(self, stale: WorkerBeat, by: str) -> bool:
        """Deregister a worker and give its running runs to the worker `by`, in one transaction.

        Return False, without a change, when the worker has sent a heartbeat after `stale`. Its
        next heartbeat finds that it is deregistered, and its writes are refused.
        """
        return await self._database.write(partial(_take_over, stale, by), access=ALL_OWNERS)

    async def list_running_ids(self, worker_id: str) -> list[str]:
        """Return the ids of the worker's runs without an end."""
        of_worker = (runs.c.worker_id == worker_id, runs.c.state == "running")
        return [row[0] for row in await self._fetch_all(sa.select(runs.c.id).where(*of_worker))]

    async def deregister(self, worker_id: str) -> None:
        """Remove the worker, which has no unfinished runs."""
        await self._execute(sa.delete(workers).where(workers.c.id == worker_id))

    async def delete_expired(self, now: datetime) -> int:
        """Delete expired events, keys and budgets; return how many runs lost their events."""
        await self._budgets.tidy(now)
        await self._usage.fold(now.date())
        await self._execute(sa.delete(idempotency_keys).where(idempotency_keys.c.expires_at <= now))
        expired = 0
        while True:
            count = await self._database.write(
                partial(_delete_expired_events, now), access=ALL_OWNERS
            )
            expired += count
            if count < _RUNS_PER_TRANSACTION:
                return expired

    async def _fetch_all(self, statement: sa.Executable) -> Sequence[Row[Any]]:
        return await self._database.fetch_all(statement, "maintain", ALL_OWNERS)

    async def _execute(self, statement: sa.UpdateBase) -> None:
        await self._database.execute(statement, "maintain", ALL_OWNERS)


async def _register(worker_id: str, lease_s: float, connection: AsyncConnection) -> bool:
    now = sa.func.now()  # of the database: no clock of a worker is stored
    beat = (
        sa.update(workers)
        .where(workers.c.id == worker_id)
        .values(seen_at=now, beat=workers.c.beat + 1, lease_s=lease_s)
    )
    if (await connection.execute(beat)).rowcount:
        return True
    new = sa.insert(workers).values(id=worker_id, seen_at=now, beat=1, lease_s=lease_s)
    await connection.execute(new)
    return False


async def _take_over(stale: WorkerBeat, by: str, connection: AsyncConnection) -> bool:
    registered = sa.select(workers.c.beat).where(workers.c.id == stale.worker_id)
    if (await connection.scalar(registered.with_for_update())) != stale.beat:
        return False
    await connection.execute(sa.delete(workers).where(workers.c.id == stale.worker_id))
    of_worker = (runs.c.worker_id == stale.worker_id, runs.c.state == "running")
    # In the order in which commits lock runs, so that they cannot deadlock.
    in_order = sa.select(runs.c.id).where(*of_worker).order_by(runs.c.id).with_for_update()
    await connection.execute(in_order)
    taken = sa.update(runs).where(*of_worker)
    await connection.execute(taken.values(worker_id=by, attempt=runs.c.attempt + 1))
    return True


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
        mark = sa.update(runs).where(runs.c.id.in_(ids)).values(events_expired=True, recording=None)
        await connection.execute(mark)
    return len(ids)
