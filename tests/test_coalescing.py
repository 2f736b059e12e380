"""Coalescing windows grow with the CPU usage of the process, and are 0 when it is idle."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from service import coalescing
from service.coalescing import (
    BUSY_CPU_SHARE,
    IDLE_CPU_SHARE,
    LONG_WINDOW_S,
    READER_WINDOW_S,
    WINDOW_S,
    CoalescingWindow,
    compute_load,
)
from tests._support.llm.scripted import until
from tests._support.patience import PATIENCE_S


def test_an_idle_process_delays_nothing() -> None:
    assert (compute_load(0), compute_load(IDLE_CPU_SHARE)) == (0, 0)


def test_a_busy_process_uses_the_full_window() -> None:
    assert (compute_load(BUSY_CPU_SHARE), compute_load(3.0)) == (1, 1)


def test_between_idle_and_busy_the_window_grows_linearly() -> None:
    assert compute_load((IDLE_CPU_SHARE + BUSY_CPU_SHARE) / 2) == pytest.approx(0.5)


def test_a_new_window_delays_nothing() -> None:
    window = CoalescingWindow()
    assert (window.window_s, window.long_window_s, window.reader_window_s) == (0, 0, 0)


class Clocks:
    """Clocks of a process that uses `share` of one core; each reading is a second later."""

    share = 1.0

    def __init__(self) -> None:
        self._cpu_s = self._wall_s = 0.0

    def process_time(self) -> float:
        self._cpu_s += self.share
        return self._cpu_s

    def monotonic(self) -> float:
        self._wall_s += 1
        return self._wall_s


async def test_windows_follow_the_cpu_usage_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks, window = Clocks(), CoalescingWindow()
    monkeypatch.setattr(coalescing, "time", clocks)
    monkeypatch.setattr(coalescing, "SAMPLE_INTERVAL_S", 0.001)
    adapting = asyncio.create_task(window.adapt())
    await until(lambda: window.window_s == WINDOW_S, PATIENCE_S)
    assert (window.long_window_s, window.reader_window_s) == (LONG_WINDOW_S, READER_WINDOW_S)
    clocks.share = 0.0
    await until(lambda: window.window_s == 0, PATIENCE_S)
    adapting.cancel()
    with suppress(asyncio.CancelledError):
        await adapting
