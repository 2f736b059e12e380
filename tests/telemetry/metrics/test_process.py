"""Process metrics: figures on the page, and event loop lag."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable

import pytest

from telemetry import Telemetry
from tests._support.telemetry.metrics_page import samples

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the figures come from /proc")


def read_metric(telemetry: Telemetry, name: str) -> float:
    return samples(telemetry.render_metrics("")[0].decode())[name, ()]


@on_linux
def test_the_process_metrics_match_the_process(quiet: Telemetry) -> None:
    assert read_metric(quiet, "process_resident_memory_bytes") > 10_000_000
    assert abs(read_metric(quiet, "process_start_time_seconds") - time.time()) < 86_400
    before = read_metric(quiet, "process_open_fds")
    assert 0 < before < read_metric(quiet, "process_max_fds")
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
    assert read_metric(quiet, "process_open_fds") == before + 10
    for each in opened:
        os.close(each)


@on_linux
def test_the_cpu_metric_matches_the_process(quiet: Telemetry) -> None:
    first = read_metric(quiet, "process_cpu_seconds_total")
    assert first > 0
    while time.process_time() < first + 0.1:
        pass
    assert read_metric(quiet, "process_cpu_seconds_total") == pytest.approx(
        time.process_time(), abs=1
    )


async def count_until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not seen():
            await asyncio.sleep(0.02)


async def test_a_blocked_event_loop_is_measured_as_lag(quiet: Telemetry) -> None:
    watch = asyncio.create_task(quiet.health.watch())
    try:
        await count_until(lambda: read_metric(quiet, "event_loop_lag_seconds_count") >= 1)
        before = read_metric(quiet, "event_loop_lag_seconds_sum")
        deadline = time.monotonic() + 0.6
        while time.monotonic() < deadline:  # blocks the event loop
            pass
        await count_until(lambda: read_metric(quiet, "event_loop_lag_seconds_sum") > before + 0.3)
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
