"""The heartbeat of this worker: a time in the database that shows other workers it is alive."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from service.errors import StorageUnavailable
from service.store.workers import Workers

HEARTBEAT_EVERY_S = 5.0


class Heartbeat:
    """The liveness of one worker."""

    def __init__(self, workers: Workers, worker_id: str) -> None:
        self._workers = workers
        self.worker_id = worker_id
        self._unbroken_since: float | None = None  # loop time
        self._was_sent = False

    async def send(self) -> bool:
        """Store that this worker is alive; return whether another one had deregistered it.

        A worker is deregistered by others when they take it for stale and have ended its runs.
        Raises StorageUnavailable.
        """
        try:
            was_registered = await self._workers.register(self.worker_id, datetime.now(UTC))
        except StorageUnavailable:
            self._unbroken_since = None
            raise
        if self._unbroken_since is None:
            self._unbroken_since = asyncio.get_running_loop().time()
        was_deregistered = self._was_sent and not was_registered
        self._was_sent = True
        return was_deregistered

    @property
    def unbroken_s(self) -> float:
        """The seconds since the first heartbeat after the last that failed; 0 without one."""
        since = self._unbroken_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since
