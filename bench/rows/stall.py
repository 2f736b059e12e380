"""Events of a stream beside a client that floods the service, as a ratio to those alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter

from bench.client import Tally, TimedRequest, connect, perform
from bench.ensembles import BenchEnsemble, MockAnswer, build_get
from bench.lab import Lab, Served
from bench.table import Line
from tests._support.clients.floods import (
    HTTP2_FLOODS,
    UNLIMITED_FLOODS,
    WEB_SOCKET_FLOODS,
    Flood,
    send_flood,
)

_RATIO = 0.5
_GAP_MS = 20
_BYTES_PER_S = 1_000_000
_GROUPS = {
    "WebSocket frames": WEB_SOCKET_FLOODS,
    "HTTP/2 frames": HTTP2_FLOODS,
    "requests and bodies": UNLIMITED_FLOODS,
}


async def measure_stall(lab: Lab) -> list[Line]:
    """Measure one stream of 50 events per second, alone and beside each flood in turn."""
    groups: Mapping[str, Mapping[str, Flood]] = lab.choose(
        _GROUPS, {name: dict([*floods.items()][:1]) for name, floods in _GROUPS.items()}
    )
    quick = BenchEnsemble("quick", MockAnswer(5), MockAnswer(5))
    reference = BenchEnsemble("reference", MockAnswer(5), MockAnswer(1_000, gap_ms=_GAP_MS))
    async with lab.run_service([quick, reference]) as served:
        await lab.warm_up(served, quick)
        return [
            await _line(lab, served, reference, name, floods) for name, floods in groups.items()
        ]


async def _line(
    lab: Lab, served: Served, reference: BenchEnsemble, name: str, floods: Mapping[str, Flood]
) -> Line:
    meter = lab.start_meter(served)
    window_s = lab.choose(1.5, 0.5)
    measured = {
        title: await _measure(served, reference, flood, window_s) for title, flood in floods.items()
    }
    worst = min(measured, key=lambda title: measured[title][0])
    ratio = measured[worst][0]
    slowest_s = max(health_s for _, health_s in measured.values())
    return Line(
        f"events of a stream beside a flood of {name}",
        f"{ratio:.2f} × alone",
        f"≥ {_RATIO} ×",
        f"the lowest of {len(measured)} floods of {_BYTES_PER_S / 1e6:.0f} MB/s, {worst}; "
        f"slowest /health/live {slowest_s * 1000:.0f} ms; {meter.read_shares()}",
        ratio >= _RATIO,
    )


async def _measure(
    served: Served, reference: BenchEnsemble, flood: Flood, window_s: float
) -> tuple[float, float]:
    """Return the ratio of the events beside the flood, and the seconds of /health/live."""
    request = await connect(served.address, TimedRequest(reference.request))
    try:
        while not request.tokens:
            await asyncio.sleep(0.05)
        alone = await _count_events(request, window_s)
        flooding = asyncio.create_task(_flood_repeatedly(served, flood))
        probing = asyncio.create_task(_probe_health(served))
        # The better of two windows: a burst of other load must not count as a stall.
        beside = max([await _count_events(request, window_s) for _ in range(2)])
        flooding.cancel()
        health_s = await probing
    finally:
        request.abort()
    return beside / max(alone, 1), health_s


async def _count_events(request: TimedRequest, window_s: float) -> int:
    """Return the number of reads with tokens within the window."""
    request.tally = Tally()
    await asyncio.sleep(window_s)
    return len(request.tally.gaps)


async def _probe_health(served: Served) -> float:
    """Return the seconds that a request took during the flood."""
    await asyncio.sleep(0.2)
    started = perf_counter()
    await perform(served.address, TimedRequest(build_get("/health/live")), 0)
    return perf_counter() - started


async def _flood_repeatedly(served: Served, flood: Flood) -> None:
    while True:
        await send_flood(served.address[1], flood, _BYTES_PER_S)
