"""One worker: a process's runs with their spool, journal, recovery and maintenance."""

from __future__ import annotations

import asyncio
import logging

from service.errors import StorageUnavailable
from service.ids import new_id
from service.runs.journal.journal import Journal
from service.runs.journal.spool import Spool
from service.runs.launcher import RunDependencies
from service.runs.recovery.heartbeat import Heartbeat
from service.runs.recovery.maintenance import Maintenance
from service.runs.recovery.recovery import Recovery
from service.runs.runs import Runs
from service.runs.settings import Limits
from service.settings import Settings
from service.store.connections.urls import parse_url
from service.store.migrate import migrate
from service.store.store import Store

_log = logging.getLogger(__name__)

_MIGRATE_EVERY_S = 2.0
_SETTLE_S = 5.0  # for the last commits, after every run has ended


class Worker:
    """Builds, starts and stops all that `runs` of one process need."""

    def __init__(self, settings: Settings, store: Store, dependencies: RunDependencies) -> None:
        worker_id = new_id("worker")
        # Several databases may share the spool folder. A run that is missing in one of them may
        # be in another, and its spool must stay.
        folder = settings.spool_dir / parse_url(settings.database).identity
        telemetry = dependencies.telemetry
        self._settings = settings
        self._store = store
        self._worker_id = worker_id
        self._spool = Spool(folder, worker_id)
        self._journal = Journal(
            store.journal,
            self._spool,
            dependencies.pace,
            settings.store_timeout_s,
            telemetry.journal,
        )
        limits = _make_limits(settings)
        self.runs = Runs(dependencies, limits, store.runs, self._journal, worker_id)
        heartbeat = Heartbeat(store.workers, worker_id)
        recovery = Recovery(store, folder, heartbeat, limits.retention_s, telemetry)
        self._maintenance = Maintenance(
            self.runs, heartbeat, recovery, store.workers, limits.retention_s
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """End runs that earlier workers left unfinished, then start the background tasks."""
        self._spool.open()
        await self._maintenance.start()
        work = [self._journal.run(), self._maintenance.run()]
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
        else:
            _log.error("stopped without the database: the last events are in the spool folder")
            self._spool.abandon()
        await self._store.close()

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
            await self._store.workers.deregister(self._worker_id)
        except StorageUnavailable as error:
            _log.warning("could not deregister this worker: %s", error)


def _make_limits(settings: Settings) -> Limits:
    return Limits(
        open_runs=settings.max_open_runs,
        exchanges=settings.max_exchanges,
        retention_s=settings.run_retention_s,
        idempotency_s=settings.idempotency_ttl_s,
        detach_grace_s=settings.detach_grace_s,
        keep_alive_s=settings.keep_alive_s,
    )
