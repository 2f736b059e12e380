"""One worker: a process's runs with their spool, journal, recovery and maintenance."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from service.errors import StorageUnavailable
from service.ids import new_id
from service.runs.journal.journal import Journal
from service.runs.journal.locks import WorkerLock
from service.runs.journal.spool import Spool
from service.runs.launcher import RunDependencies
from service.runs.recovery.heartbeat import Heartbeat
from service.runs.recovery.lease import Lease, read_monotonic_s
from service.runs.recovery.maintenance import Maintenance
from service.runs.recovery.recovery import SPOOL_FACT, Folders, Recovery
from service.runs.runs import Runs
from service.runs.settings import Limits
from service.settings import Settings
from service.store.connections.urls import Address, parse_url
from service.store.migrate import migrate
from service.store.store import Store

_log = logging.getLogger(__name__)

_MIGRATE_EVERY_S = 2.0
_SETTLE_S = 5.0  # for the last commits, after every run has ended


class Worker:
    """Builds, starts and stops all that `runs` of one process need."""

    def __init__(self, settings: Settings, store: Store, dependencies: RunDependencies) -> None:
        lease = Lease(new_id("worker"), settings.lease_s, read_monotonic_s)
        address = parse_url(settings.database)
        folders = _choose_folders(settings, address)
        telemetry = dependencies.telemetry
        self._settings = settings
        self._store = store
        self._lease = lease
        self._spool = Spool(folders.spools, lease.worker_id)
        self._folders = folders
        self._lock = WorkerLock(folders.locks, lease.worker_id)
        self._journal = Journal(
            store.journal,
            self._spool,
            dependencies.pace,
            settings.store_timeout_s,
            telemetry.journal,
        )
        limits = _make_limits(settings)
        self.runs = Runs(dependencies, limits, store.runs, self._journal, lease)
        self._heartbeat = Heartbeat(self.runs, store.workers, lease)
        recovery = Recovery(store, folders, lease, limits.retention_s, telemetry)
        self._maintenance = Maintenance(
            self.runs, lease, recovery, store.workers, limits.retention_s
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """End runs that earlier workers left unfinished, then start the background tasks."""
        self._spool.open()
        self._take_lock()
        await self._maintenance.start()
        await self._register()
        work = [self._journal.run(), self._heartbeat.run(), self._maintenance.run()]
        if self._settings.migrates_on_start:
            work.append(self._migrate_when_available())
        self._tasks = [asyncio.create_task(each) for each in work]

    async def stop(self) -> None:
        """Commit the last events; without the database they stay in the spool for the next worker.

        The runs must have ended before (`Runs.drain`).
        """
        is_settled = await self._journal.settle(_SETTLE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if is_settled:
            self._spool.close()
            await self._deregister()
            self._lock.remove()
        else:
            _log.error("stopped without the database: the last events are in the spool folder")
            self._spool.abandon()
            self._lock.release()
        await self._store.close()

    def _take_lock(self) -> None:
        """On SQLite, show with a lock beside the database that this worker is alive.

        All workers of a file are on one machine, so that no lease is needed while each sees the
        locks of the others, whatever their spool folders.
        """
        if self._folders.locks == self._folders.spools:
            return
        try:
            self._lock.take({SPOOL_FACT: str(self._folders.spools.absolute())})
        except OSError as error:
            cause = error.strerror or error
            _log.warning("cannot lock a file in %s (%s)", self._folders.locks, cause)
        else:
            self._lease.hold_without_end()

    async def _register(self) -> None:
        try:
            await self._heartbeat.send()
        except StorageUnavailable as error:
            _log.debug("this worker is not registered yet: %s", error)

    async def _migrate_when_available(self) -> None:
        """Migrate a database that was unavailable at start, once it can be reached."""
        while True:
            await asyncio.sleep(_MIGRATE_EVERY_S)
            failure = self._journal.failing
            if failure and failure.reason == "schema":
                try:
                    await migrate(self._settings.database)
                except StorageUnavailable as error:
                    _log.warning("cannot migrate the database: %s", error)

    async def _deregister(self) -> None:
        try:
            await self._store.workers.deregister(self._lease.worker_id)
        except StorageUnavailable as error:
            _log.warning("could not deregister this worker: %s", error)


def _choose_folders(settings: Settings, address: Address) -> Folders:
    # Several databases may share the spool folder. A run that is missing in one of them may be in
    # another, and its spool must stay.
    spools = settings.spool_dir / address.identity
    is_file = address.dialect == "sqlite"
    return Folders(spools, locks=Path(f"{address.path}.workers") if is_file else spools)


def _make_limits(settings: Settings) -> Limits:
    return Limits(
        open_runs=settings.max_open_runs,
        exchanges=settings.max_exchanges,
        retention_s=settings.run_retention_s,
        idempotency_s=settings.idempotency_ttl_s,
        detach_grace_s=settings.detach_grace_s,
        keep_alive_s=settings.keep_alive_s,
    )
