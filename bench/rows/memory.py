"""Many open runs: what each holds in memory, and whether the service still answers at once."""

from __future__ import annotations

import asyncio
import resource

from bench.client import ServerRequest, connect, converse
from bench.fans import Fan, Speech, get
from bench.lab import Lab, Served
from bench.load import percentile
from bench.processes import BenchError
from bench.table import Line

_RUN_KB, _HEALTH_MS = 100.0, 25.0
_OPEN_PER_S = 250
_WAIT_S = 30.0
_FILES_PER_RUN = 3  # in the service: a client and two agents


async def memory(lab: Lab) -> list[Line]:
    """Hold runs open whose agents say a token every ten seconds."""
    slow = Speech(tokens=12, first_ms=500, gap_ms=10_000)
    quick = Fan("quick", Speech(5), Speech(5))
    fan = Fan("slow", slow, slow)
    count = min(lab.pick(2000, 50), _files() // _FILES_PER_RUN)
    exchanges = [ServerRequest(fan.request) for _ in range(count)]
    async with lab.service([quick, fan]) as served:
        await lab.warm_up(served, quick)
        before = served.process.rss_bytes()
        try:
            await _open(lab, served, exchanges)
            meter = lab.meter(served)
            health_s = await _health(served, lab.pick(300, 20))
            grown = served.process.rss_bytes() - before
            busy = meter.busy()
            _check(exchanges)
        finally:
            for exchange in exchanges:
                exchange.abort()
    run_kb = grown / 1000 / count
    p95_ms = percentile(health_s, 0.95) * 1000
    return [
        Line(f"memory of each of {count} open runs", f"{run_kb:.0f} KB", f"≤ {_RUN_KB:.0f} KB",
             f"growth of resident memory, 2 upstream streams a run; {busy}", run_kb <= _RUN_KB),
        Line("GET /health meanwhile", f"p95 {p95_ms:.1f} ms", f"p95 ≤ {_HEALTH_MS:.0f} ms",
             f"{len(health_s)} asked, slowest {max(health_s) * 1000:.1f} ms",
             p95_ms <= _HEALTH_MS),
    ]  # fmt: skip


async def _open(lab: Lab, served: Served, exchanges: list[ServerRequest]) -> None:
    """Start every run, evenly, and wait until all their agents speak."""
    streams = (await lab.mock_stats())["open_streams"] + 2 * len(exchanges)
    for exchange in exchanges:
        await connect(served.address, exchange)
        await asyncio.sleep(1 / _OPEN_PER_S)
    for _ in range(int(_WAIT_S / 0.1)):
        if (await lab.mock_stats())["open_streams"] >= streams:
            await asyncio.sleep(lab.pick(1.0, 0.2))
            return
        await asyncio.sleep(0.1)
    _check(exchanges)
    raise BenchError(f"Not all of {len(exchanges)} runs were open after {_WAIT_S:g} s.")


async def _health(served: Served, count: int) -> list[float]:
    """Return the seconds that each of `count` probes took, asked over some seconds."""
    took = []
    for _ in range(count):
        probe = await converse(served.address, ServerRequest(get("/health")), 0)
        took.append(probe.ended - probe.sent)
        await asyncio.sleep(0.01)
    return took


def _check(exchanges: list[ServerRequest]) -> None:
    waiting = sum(each.status == 200 and not each.ended for each in exchanges)
    if waiting < len(exchanges):
        raise BenchError(f"Only {waiting} of {len(exchanges)} runs were waiting.")


def _files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200
