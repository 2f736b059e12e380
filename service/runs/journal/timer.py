"""Wakes one task at the earliest of the moments that others ask for."""

from __future__ import annotations

import asyncio
import math


class CommitTimer:
    """Times are the loop's, in seconds."""

    def __init__(self) -> None:
        self._at = math.inf
        self._sleeper: asyncio.Future[None] | None = None

    def set(self, at: float) -> None:
        """Ring at `at`, unless it is to ring before that."""
        if at >= self._at:
            return
        self._at = at
        if self._sleeper and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def wait(self) -> None:
        """Return when it rings, and be quiet from then on."""
        loop = asyncio.get_running_loop()
        while (left_s := self._at - loop.time()) > 0:
            self._sleeper = loop.create_future()
            await asyncio.wait([self._sleeper], timeout=None if left_s == math.inf else left_s)
        self._at = math.inf
