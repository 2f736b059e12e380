"""Work is gathered in windows that grow with load; without load there are none."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from service.coalescing import (
    BUSY_SHARE,
    IDLE_SHARE,
    LONG_WINDOW_S,
    READER_WINDOW_S,
    SAMPLE_S,
    WINDOW_S,
    CoalescingWindow,
    load,
)
from tests._support.llm.scripted import until


def test_a_quiet_process_delays_nothing() -> None:
    assert (load(0), load(IDLE_SHARE)) == (0, 0)


def test_a_busy_process_uses_the_whole_window() -> None:
    assert (load(BUSY_SHARE), load(3.0)) == (1, 1)


def test_in_between_the_window_grows_with_the_load() -> None:
    assert load((IDLE_SHARE + BUSY_SHARE) / 2) == pytest.approx(0.5)


def test_a_new_pace_delays_nothing() -> None:
    pace = CoalescingWindow()
    assert (pace.window_s, pace.long_window_s, pace.reader_window_s) == (0, 0, 0)


async def test_a_process_that_computes_gets_windows_and_loses_them_when_it_rests() -> None:
    pace = CoalescingWindow()
    following = asyncio.create_task(pace.adapt())

    async def compute() -> None:
        while pace.window_s < WINDOW_S:
            sum(range(20_000))
            await asyncio.sleep(0)

    await asyncio.wait_for(compute(), 40 * SAMPLE_S)
    assert (pace.long_window_s, pace.reader_window_s) == (LONG_WINDOW_S, READER_WINDOW_S)
    await until(lambda: pace.window_s < WINDOW_S, 40 * SAMPLE_S)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
