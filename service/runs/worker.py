"""Runs and what keeps them: spool, journal, recovery, upkeep, put together, begun and ended."""

from __future__ import annotations

import asyncio
import logging

from service.errors import StorageUnavailable
from service.ids import new_id
from service.runs.journal.journal import Journal
from service.runs.journal.spool import Spool
from service.runs.launcher import RunDependencies
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
_SETTLE_S = 5.0  # for what is not committed yet when everything else has ended


class Worker:
    """One process's part in keeping runs. `runs` is what it is all for."""

    def __init__(self, settings: Settings, store: Store, tools: RunDependencies) -> None:
        worker_id = new_id("worker")
        # Several databases may share the folder: what one of them lacks is not the other's.
        folder = settings.spool_dir / parse_url(settings.database).identity
        self._settings = settings
        self._store = store
        self._worker_id = worker_id
        self._spool = Spool(folder, worker_id)
        self._journal = Journal(
            store.journal,
            self._spool,
            tools.pace,
            settings.store_timeout_s,
            tools.telemetry.journal,
        )
        self.runs = Runs(tools, _limits(settings), store.runs, self._journal, worker_id)
        retention_s = settings.run_retention_s
        recovery = Recovery(store, folder, worker_id, retention_s, tools.telemetry)
        self._upkeep = Maintenance(self.runs, recovery, store.workers, worker_id, retention_s)
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """End what earlier processes left unfinished, then begin to keep what is new."""
        self._spool.open()
        await self._upkeep.start()
        work = [self._journal.run(), self._upkeep.keep()]
        if self._settings.migrates_on_start:
            work.append(self._migrate_later())
        self._tasks = [asyncio.create_task(each) for each in work]

    async def end(self) -> None:
        """Commit what is left; what cannot be stays in the spool for whoever starts next."""
        settled = await self._journal.settle(_SETTLE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if settled:
            self._spool.close()
            await self._take_leave()
        else:
            _log.error("ended without the database: the last events wait in the spool folder")
            self._spool.abandon()
        await self._store.close()

    async def _migrate_later(self) -> None:
        """Bring the tables to this version when the database was away at start and has come."""
        while True:
            await asyncio.sleep(_MIGRATE_EVERY_S)
            trouble = self._journal.failing
            if trouble and trouble.reason == "schema":
                try:
                    await migrate(self._settings.database)
                except StorageUnavailable as error:
                    _log.warning("cannot bring the database to this version: %s", error)

    async def _take_leave(self) -> None:
        try:
            await self._store.workers.forget(self._worker_id)
        except StorageUnavailable as error:
            _log.warning("could not take leave of the database: %s", error)


def _limits(settings: Settings) -> Limits:
    return Limits(
        open_runs=settings.max_open_runs,
        exchanges=settings.max_exchanges,
        retention_s=settings.run_retention_s,
        idempotency_s=settings.idempotency_ttl_s,
        detach_grace_s=settings.detach_grace_s,
        keep_alive_s=settings.keep_alive_s,
    )
