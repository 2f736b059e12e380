"""The queue of large bodies."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from service.api.http.body_limits import LargeBodies

BODIES = 5
VALIDATION_S = 0.01


async def test_other_tasks_run_between_two_large_bodies() -> None:
    queue, rounds = LargeBodies(), 0
    seen: list[int] = []

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def validate() -> None:
        async with queue:
            seen.append(rounds)
            time.sleep(VALIDATION_S)  # noqa: ASYNC251 - it blocks the event loop, as validation does

    counting = asyncio.create_task(count_rounds())
    await asyncio.gather(*(validate() for _ in range(BODIES)))
    counting.cancel()
    assert all(later - earlier > 10 for earlier, later in pairwise(seen))


async def test_a_client_that_leaves_the_queue_does_not_stop_it() -> None:
    queue = LargeBodies()

    async def validate() -> None:
        async with queue:
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(validate()) for _ in range(BODIES)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks, return_exceptions=True)
        await validate()
