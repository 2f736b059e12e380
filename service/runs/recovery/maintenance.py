"""What a process does for the store by the way: it lives, listens, looks after the dead, tidies."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from service.errors import StorageUnavailable
from service.runs.recovery.recovery import BEAT_EVERY_S, Recovery
from service.runs.runs import Runs
from service.store.workers import Workers

_log = logging.getLogger(__name__)

_LISTEN_EVERY_S = 0.5
_TIDY_EVERY_S = 60.0


class Maintenance:
    """`start()` once, then `keep()` until cancelled. `retention_s` is how long events are kept."""

    def __init__(
        self, runs: Runs, recovery: Recovery, workers: Workers, worker_id: str, retention_s: float
    ) -> None:
        self._runs = runs
        self._recovery = recovery
        self._workers = workers
        self._worker_id = worker_id
        self._tidy_every_s = min(_TIDY_EVERY_S, max(1.0, retention_s / 4))
        self._beat_at = self._tidy_at = 0.0

    async def start(self) -> None:
        """End what an earlier process left behind, as far as the database can be reached."""
        try:
            await self._recovery.look()
            await self._recovery.beat()
        except StorageUnavailable as error:
            _log.warning("started without the database: %s", error)
            self._runs.journal.probe()

    async def keep(self) -> None:
        """Go on until cancelled; what fails for want of the database is done later."""
        while True:
            await asyncio.sleep(_LISTEN_EVERY_S)
            try:
                await self._round(asyncio.get_running_loop().time())
            except StorageUnavailable as error:
                _log.debug("upkeep has to wait: %s", error)
                self._runs.journal.probe()
            except Exception:  # noqa: BLE001  (the edge of the task)
                _log.exception("upkeep failed for a reason that is a bug")

    async def _round(self, now: float) -> None:
        if self._runs.working:
            self._runs.hear(await self._workers.signals(self._worker_id))
        if now >= self._beat_at:
            if await self._recovery.beat():
                _log.warning("this process was taken for dead: its runs are over")
                self._runs.interrupt()
            self._beat_at = now + BEAT_EVERY_S
            await self._recovery.look()
        if now >= self._tidy_at:
            self._tidy_at = now + self._tidy_every_s
            await self._workers.expire(datetime.now(UTC))
