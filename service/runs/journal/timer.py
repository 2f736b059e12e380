"""The timer of the journal: it wakes one task at the earliest of several times."""

from __future__ import annotations

import asyncio
import math


class CommitTimer:
    """An alarm for one waiting task. Times are those of the event loop, in seconds."""

    def __init__(self) -> None:
        self._at = math.inf
        self._sleeper: asyncio.Future[None] | None = None

    def set(self, at: float) -> None:
        """Wake the task at `at`, or at the time that is already set if that is earlier."""
        if at >= self._at:
            return
        self._at = at
        if self._sleeper and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def wait(self) -> None:
        """Wait until the time that is set, then clear it."""
        loop = asyncio.get_running_loop()
        while (left_s := self._at - loop.time()) > 0:
            self._sleeper = loop.create_future()
            await asyncio.wait([self._sleeper], timeout=None if left_s == math.inf else left_s)
        self._at = math.inf
