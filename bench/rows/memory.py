"""Memory of each of many open runs, and the response time of /health meanwhile."""

from __future__ import annotations

import asyncio
import resource

from bench.client import TimedRequest, connect, perform
from bench.ensembles import BenchEnsemble, MockAnswer, build_get
from bench.lab import Lab, Served
from bench.load import percentile
from bench.processes import BenchError
from bench.table import Line

_RUN_KB, _HEALTH_MS = 100.0, 25.0
_OPEN_PER_S = 250
_WAIT_S = 30.0
_FILES_PER_RUN = 3  # in the service: one client and two agents


async def measure_memory(lab: Lab) -> list[Line]:
    """Open many runs with agents that send one token every ten seconds."""
    slow = MockAnswer(tokens=12, first_ms=500, gap_ms=10_000)
    quick = BenchEnsemble("quick", MockAnswer(5), MockAnswer(5))
    ensemble = BenchEnsemble("slow", slow, slow)
    count = min(lab.choose(2000, 50), _get_file_limit() // _FILES_PER_RUN)
    requests = [TimedRequest(ensemble.request) for _ in range(count)]
    async with lab.run_service([quick, ensemble], needs_mock=True) as served:
        await lab.warm_up(served, quick)
        before = served.process.read_rss_bytes()
        try:
            await _open(lab, served, requests)
            meter = lab.start_meter(served)
            health_s = await _probe_health(served, lab.choose(300, 20))
            grown = served.process.read_rss_bytes() - before
            busy = meter.read_shares()
            _check(requests)
        finally:
            for request in requests:
                request.abort()
    run_kb = grown / 1000 / count
    p95_ms = percentile(health_s, 0.95) * 1000
    return [
        Line(f"memory of each of {count} open runs", f"{run_kb:.0f} KB", f"≤ {_RUN_KB:.0f} KB",
             f"growth of resident memory, 2 upstream streams a run; {busy}", run_kb <= _RUN_KB),
        Line("GET /health meanwhile", f"p95 {p95_ms:.1f} ms", f"p95 ≤ {_HEALTH_MS:.0f} ms",
             f"{len(health_s)} asked, slowest {max(health_s) * 1000:.1f} ms",
             p95_ms <= _HEALTH_MS),
    ]  # fmt: skip


async def _open(lab: Lab, served: Served, requests: list[TimedRequest]) -> None:
    """Start all runs at an even rate, and wait until all agents stream."""
    streams = (await lab.fetch_mock_stats())["open_streams"] + 2 * len(requests)
    for request in requests:
        await connect(served.address, request)
        await asyncio.sleep(1 / _OPEN_PER_S)
    for _ in range(int(_WAIT_S / 0.1)):
        if (await lab.fetch_mock_stats())["open_streams"] >= streams:
            await asyncio.sleep(lab.choose(1.0, 0.2))
            return
        await asyncio.sleep(0.1)
    _check(requests)
    raise BenchError(f"Not all of {len(requests)} runs were open after {_WAIT_S:g} s.")


async def _probe_health(served: Served, count: int) -> list[float]:
    """Return the seconds that each of `count` probes took."""
    durations_s = []
    for _ in range(count):
        probe = await perform(served.address, TimedRequest(build_get("/health")), 0)
        durations_s.append(probe.ended - probe.sent)
        await asyncio.sleep(0.01)
    return durations_s


def _check(requests: list[TimedRequest]) -> None:
    waiting = sum(each.status == 200 and not each.ended for each in requests)
    if waiting < len(requests):
        raise BenchError(f"Only {waiting} of {len(requests)} runs were waiting.")


def _get_file_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200
