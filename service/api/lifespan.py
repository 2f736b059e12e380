"""The start and the end of the service with those of its server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack

from quart import Quart

from service.runs.worker import Worker


def add_lifespan(
    app: Quart,
    worker: Worker,
    watches: Iterable[Callable[[], Coroutine[None, None, None]]],
    settles: Iterable[Callable[[], Awaitable[None]]],
    closes: Iterable[Callable[[], Awaitable[None]]],
) -> None:
    """Start `worker`, then the background tasks `watches`, when the server starts.

    The end of the server stops the tasks, calls `settles`, which may use the store, stops `worker`
    and then calls `closes` in their order. Each step runs also when an earlier one fails.
    """
    steps = AsyncExitStack()

    async def start() -> None:
        for close in reversed(tuple(closes)):
            steps.push_async_callback(close)
        await worker.start()
        steps.push_async_callback(worker.stop)
        for settle in settles:
            steps.push_async_callback(settle)
        for watch in watches:
            steps.callback(asyncio.create_task(watch()).cancel)

    app.before_serving(start)
    app.after_serving(steps.aclose)
