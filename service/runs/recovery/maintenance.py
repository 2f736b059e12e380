"""Background maintenance of one worker: signals, recovery of stale workers, expiry."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from service.errors import StorageUnavailable
from service.runs.recovery.lease import Lease
from service.runs.recovery.recovery import Recovery
from service.runs.runs import Runs
from service.store.workers import Workers

_log = logging.getLogger(__name__)

_SIGNALS_EVERY_S = 0.5
_EXPIRY_EVERY_S = 60.0
_OBSERVATIONS_PER_LEASE = 6  # a stale worker is noticed late by a sixth of a lease at most


class Maintenance:
    """Periodic work in one task: `start()` once, then `run()`.

    `retention_s` is how long a run's events stay readable after its end.
    """

    def __init__(
        self,
        runs: Runs,
        lease: Lease,
        recovery: Recovery,
        workers: Workers,
        retention_s: float,
    ) -> None:
        self._runs = runs
        self._lease = lease
        self._recovery = recovery
        self._workers = workers
        self._expiry_every_s = min(_EXPIRY_EVERY_S, max(1.0, retention_s / 4))
        self._recovery_at = self._expiry_at = 0.0  # loop times

    async def start(self) -> None:
        """Recover earlier workers' runs, if the database is available."""
        try:
            await self._recovery.recover_stale_workers()
        except StorageUnavailable as error:
            _log.warning("started without the database: %s", error)
            self._runs.journal.probe()

    async def run(self) -> None:
        """Work until cancelled. Work that fails without the database is repeated later."""
        while True:
            await asyncio.sleep(_SIGNALS_EVERY_S)
            try:
                await self._run_once(asyncio.get_running_loop().time())
            except StorageUnavailable as error:
                _log.debug("maintenance is postponed: %s", error)
                self._runs.journal.probe()
            except Exception:  # noqa: BLE001  (the edge of the task)
                _log.exception("unexpected error in maintenance")

    async def _run_once(self, now: float) -> None:
        if self._runs.open_count:
            signals = await self._workers.take_signals(self._lease.worker_id)
            self._runs.apply_signals(signals)
        if now >= self._recovery_at:
            await self._recovery.recover_stale_workers()
            self._recovery_at = now + self._lease.duration_s / _OBSERVATIONS_PER_LEASE
        if now >= self._expiry_at:
            self._expiry_at = now + self._expiry_every_s
            await self._workers.delete_expired(datetime.now(UTC))
