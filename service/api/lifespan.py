"""The start and the end of the service, with those of its server or in a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Self

from quart import Quart

from service.runs.worker import Worker


class Lifespan:
    """The steps of the start and the end, in their order.

    The start starts `worker`, then the background tasks `watches`. The end stops the tasks, calls
    `settles`, which may use the store, stops `worker` and then calls `closes`. Each step of the end
    runs also when an earlier one fails.
    """

    def __init__(
        self,
        worker: Worker,
        watches: Iterable[Callable[[], Coroutine[None, None, None]]],
        settles: Iterable[Callable[[], Awaitable[None]]],
        closes: Iterable[Callable[[], Awaitable[None]]],
    ) -> None:
        self._worker = worker
        self._watches = tuple(watches)
        self._settles = tuple(settles)
        self._closes = tuple(closes)
        self._steps = AsyncExitStack()

    async def start(self) -> None:
        """Start the service, without a server."""
        for close in reversed(self._closes):
            self._steps.push_async_callback(close)
        await self._worker.start()
        self._steps.push_async_callback(self._worker.stop)
        for settle in self._settles:
            self._steps.push_async_callback(settle)
        for watch in self._watches:
            self._steps.callback(asyncio.create_task(watch()).cancel)

    async def stop(self) -> None:
        """End it; its runs must have ended before (`Runs.drain`)."""
        await self._steps.aclose()

    async def stop_now(self) -> None:
        """Stop open runs at once, and end it."""
        await self._worker.runs.drain(0)
        await self.stop()

    async def __aenter__(self) -> Self:
        """Start the service in a command that serves nothing."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop open runs at once, and the service."""
        await self.stop_now()

    def install(self, app: Quart) -> None:
        """Start and end with the server of `app`."""
        app.before_serving(self.start)
        app.after_serving(self.stop)
