"""Coalescing windows grow with the CPU usage of the process, and are 0 when it is idle."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from service.coalescing import (
    BUSY_CPU_SHARE,
    IDLE_CPU_SHARE,
    LONG_WINDOW_S,
    READER_WINDOW_S,
    SAMPLE_INTERVAL_S,
    WINDOW_S,
    CoalescingWindow,
    compute_load,
)
from tests._support.llm.scripted import until


def test_an_idle_process_delays_nothing() -> None:
    assert (compute_load(0), compute_load(IDLE_CPU_SHARE)) == (0, 0)


def test_a_busy_process_uses_the_full_window() -> None:
    assert (compute_load(BUSY_CPU_SHARE), compute_load(3.0)) == (1, 1)


def test_between_idle_and_busy_the_window_grows_linearly() -> None:
    assert compute_load((IDLE_CPU_SHARE + BUSY_CPU_SHARE) / 2) == pytest.approx(0.5)


def test_a_new_window_delays_nothing() -> None:
    window = CoalescingWindow()
    assert (window.window_s, window.long_window_s, window.reader_window_s) == (0, 0, 0)


async def test_windows_follow_the_cpu_usage_of_the_process() -> None:
    window = CoalescingWindow()
    adapting = asyncio.create_task(window.adapt())

    async def compute() -> None:
        while window.window_s < WINDOW_S:
            sum(range(20_000))
            await asyncio.sleep(0)

    await asyncio.wait_for(compute(), 40 * SAMPLE_INTERVAL_S)
    assert (window.long_window_s, window.reader_window_s) == (LONG_WINDOW_S, READER_WINDOW_S)
    await until(lambda: window.window_s < WINDOW_S, 40 * SAMPLE_INTERVAL_S)
    adapting.cancel()
    with suppress(asyncio.CancelledError):
        await adapting
