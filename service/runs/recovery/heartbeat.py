"""The heartbeat of this worker: a count in the database that shows other workers it is alive."""

from __future__ import annotations

import asyncio
import logging

from service.errors import StorageUnavailable
from service.runs.recovery.lease import BEATS_PER_LEASE, Lease
from service.runs.runs import Runs
from service.store.waiting import wait_within
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
        is_certain = was_held and self._is_continuous
        self._is_continuous = False
        sending = asyncio.create_task(self._register(is_certain=is_certain))
        try:
            if not await wait_within(sending, self._lease.duration_s / BEATS_PER_LEASE):
                raise StorageUnavailable("The heartbeat takes too long.")
        finally:
            sending.cancel()  # does nothing to one that is done
        sending.result()
        self._is_continuous = True
        self._lease.extend(started)
        if not was_held:
            self._runs.wake_readers()

    async def _register(self, *, is_certain: bool) -> None:
        """Send a heartbeat; unless it `is_certain` that no other came between, look for lost runs.

        A run that is opened meanwhile is in neither list of runs.
        """
        lease = self._lease
        was_registered = await self._workers.register(lease.worker_id, lease.duration_s)
        open_ids = self._runs.list_open_ids()
        if open_ids and not (was_registered and is_certain):
            owned = set(await self._workers.list_running_ids(lease.worker_id))
            for run_id in open_ids:
                if run_id not in owned:
                    self._runs.journal.pending.fence(run_id)
