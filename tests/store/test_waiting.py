"""Time limits that leave out how late the event loop is."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.store.waiting import wait_within


async def test_a_future_that_is_done_in_time_is_reported_at_once() -> None:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    loop.call_later(0.02, waiter.set_result, None)
    started = loop.time()
    assert await wait_within(waiter, 30)
    assert loop.time() - started < 10


async def test_a_future_that_is_never_done_is_given_up_after_the_limit() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert not await wait_within(loop.create_future(), 0.2)
    assert loop.time() - started >= 0.2


async def test_the_time_in_which_the_loop_is_blocked_does_not_count() -> None:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(wait_within(waiter, 0.3))
    await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251  (the loop is to be blocked)
    loop.call_later(0.1, waiter.set_result, None)
    assert await waiting


async def test_a_loop_that_is_always_late_extends_the_limit_five_times_at_most() -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(wait_within(loop.create_future(), 0.2))
    started = loop.time()
    while not waiting.done():
        time.sleep(0.3)  # noqa: ASYNC251  (the loop is to be blocked)
        await asyncio.sleep(0)
    assert not waiting.result()
    assert 0.2 * 5 <= loop.time() - started < 0.2 * 5 + 5


async def test_a_cancelled_caller_does_not_cancel_the_future() -> None:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(wait_within(waiter, 30))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not waiter.done()
