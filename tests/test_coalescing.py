"""Frames apply while the process is busy, and their sources are called together."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from service import coalescing
from service.coalescing import (
    ACTIVE_CPU_SHARE,
    FRAME_S,
    IDLE_CPU_SHARE,
    LONG_WINDOW_S,
    SAMPLE_INTERVAL_S,
    CoalescingWindow,
)
from tests._support.llm.scripted import now, skipping, until
from tests._support.patience import PATIENCE_S


def test_a_new_window_delays_nothing() -> None:
    window = CoalescingWindow()
    assert (window.is_active, window.long_window_s) == (False, 0)


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


async def test_frames_follow_the_cpu_usage_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, window = Clocks(), CoalescingWindow()
    monkeypatch.setattr(coalescing, "time", clocks)
    monkeypatch.setattr(coalescing, "SAMPLE_INTERVAL_S", 0.001)
    adapting = asyncio.create_task(window.adapt())
    await until(lambda: window.long_window_s == LONG_WINDOW_S, PATIENCE_S)
    clocks.share = (IDLE_CPU_SHARE + ACTIVE_CPU_SHARE) / 2  # frames have reduced it
    await until(lambda: window.long_window_s < LONG_WINDOW_S / 4, PATIENCE_S)
    await asyncio.sleep(0.05)
    assert window.long_window_s > 0
    clocks.share = 0.0
    await until(lambda: window.long_window_s == 0, PATIENCE_S)
    clocks.share = (IDLE_CPU_SHARE + ACTIVE_CPU_SHARE) / 2
    await asyncio.sleep(0.05)
    assert window.long_window_s == 0
    adapting.cancel()
    with suppress(asyncio.CancelledError):
        await adapting


class Source:
    """Notes the times of frames and whether they were full, and itself in `order`."""

    def __init__(
        self,
        window: CoalescingWindow,
        order: list[Source] | None = None,
        *,
        is_watched: bool = True,
    ) -> None:
        self._window = window
        self._order = order if order is not None else []
        self.is_watched = is_watched
        self.frames: list[tuple[float, bool]] = []

    def on_frame(self) -> None:
        self.frames.append((round(now(), 6), self._window.is_full))
        self._order.append(self)


@skipping
async def test_all_sources_are_called_at_the_end_of_each_frame() -> None:
    window = CoalescingWindow()
    first, second = Source(window), Source(window)
    window.add(first)
    await asyncio.sleep(FRAME_S * 0.5)
    window.add(second)
    await asyncio.sleep(FRAME_S * 2)
    assert first.frames == second.frames == [(FRAME_S, False), (FRAME_S * 2, True)]
    window.discard(first)
    await asyncio.sleep(FRAME_S)
    window.discard(second)
    await asyncio.sleep(FRAME_S * 5)
    assert (len(first.frames), len(second.frames)) == (2, 3)


@skipping
async def test_a_busier_process_has_fewer_full_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, window = Clocks(), CoalescingWindow()
    monkeypatch.setattr(coalescing, "time", clocks)
    source = Source(window)
    window.add(source)
    adapting = asyncio.create_task(window.adapt())
    for share, full_every in ((0.12, 2), (0.3, 3), (0.9, 4)):
        clocks.share = share
        await asyncio.sleep(20 * SAMPLE_INTERVAL_S)
        source.frames.clear()
        await asyncio.sleep(FRAME_S * 12)
        assert [is_full for _, is_full in source.frames].count(True) == 12 // full_every
    adapting.cancel()
    window.discard(source)
    with suppress(asyncio.CancelledError):
        await adapting


@skipping
async def test_streams_for_which_a_combiner_waits_are_read_first() -> None:
    window, order = CoalescingWindow(), list[Source]()
    sources = [Source(window, order, is_watched=watched) for watched in (True, False, True, False)]
    for source in sources:
        window.add(source)
    await asyncio.sleep(FRAME_S * 1.5)
    for source in sources:
        window.discard(source)
    assert [each.is_watched for each in order] == [False, False, True, True]


@skipping
async def test_frames_continue_for_a_source_that_is_added_later() -> None:
    window = CoalescingWindow()
    for _ in range(2):
        source = Source(window)
        window.add(source)
        await asyncio.sleep(FRAME_S * 1.5)
        window.discard(source)
        assert len(source.frames) == 1
        await asyncio.sleep(FRAME_S * 3)
