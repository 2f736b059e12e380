"""The heartbeat of this worker: a count in the database that shows other workers it is alive."""

from __future__ import annotations

import asyncio
import logging

from service.errors import StorageUnavailable
from service.runs.recovery.lease import BEATS_PER_LEASE, Lease
from service.runs.runs import Runs
from service.store.workers import Workers

_log = logging.getLogger(__name__)

_RETRY_S = 0.5


class Heartbeat:
    """The liveness of one worker: each heartbeat extends its lease."""

    def __init__(self, runs: Runs, workers: Workers, lease: Lease) -> None:
        self._runs = runs
        self._workers = workers
        self._lease = lease
        self._is_continuous = False  # no heartbeat has failed since the last one

    async def run(self) -> None:
        """Send heartbeats until cancelled; soon again after one that failed."""
        interval_s = self._lease.duration_s / BEATS_PER_LEASE
        while True:
            await asyncio.sleep(interval_s if self._is_continuous else min(_RETRY_S, interval_s))
            try:
                await self.send()
            except StorageUnavailable as error:
                _log.debug("the heartbeat failed: %s", error)
                self._runs.journal.probe()
            except Exception:  # noqa: BLE001  (the edge of the task)
                _log.exception("unexpected error in the heartbeat")

    async def send(self) -> None:
        """Store that this worker is alive and extend its lease. Raises StorageUnavailable.

        After a time without a lease, and after another worker deregistered this one, open runs that
        are no longer this worker's in the database are given up before the lease is held again.
        """
        started, was_held = self._lease.clock(), self._lease.is_held
        was_continuous, self._is_continuous = self._is_continuous, False
        try:
            async with asyncio.timeout(self._lease.duration_s / BEATS_PER_LEASE):
                was_registered = await self._workers.register(
                    self._lease.worker_id, self._lease.duration_s
                )
                if not (was_registered and was_held and was_continuous):
                    await self._give_up_lost_runs()
        except TimeoutError:
            raise StorageUnavailable("The heartbeat takes too long.", reason="slow") from None
        self._is_continuous = True
        self._lease.extend(started)
        if not was_held:
            self._runs.wake_readers()

    async def _give_up_lost_runs(self) -> None:
        # In this order: a run that is opened meanwhile is in neither list.
        open_ids = self._runs.list_open_ids()
        if open_ids:
            owned = set(await self._workers.list_running_ids(self._lease.worker_id))
            for run_id in open_ids:
                if run_id not in owned:
                    self._runs.journal.pending.fence(run_id)
