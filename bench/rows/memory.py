"""Memory of each of many open runs and of their processes, and the response time of /health."""

from __future__ import annotations

import asyncio
import os
import re
import resource

from bench.client import TimedRequest, connect, perform
from bench.ensembles import BenchEnsemble, MockAnswer, build_get
from bench.lab import SERVICE, Lab, Served, fetch
from bench.load import percentile
from bench.processes import BenchError, Memory
from bench.table import Line

_RUN_KB, _PROCESS_MB, _HEALTH_MS = 64.0, 60.0, 25.0
_PROCESSES = 8
# The load and the models take as much of the machine as the service.
_RUNS, _RUNS_PER_CORE = 10_000, 1_000
_OPEN_PER_S = 150
_WAIT_S = 30.0
_FILES_PER_RUN = 2  # of the models' server, which has most of them in one process
_INFLIGHT = re.compile(rb"^fanout_inflight_runs (\S+)$", re.MULTILINE)


async def measure_memory(lab: Lab) -> list[Line]:
    """Open many runs with agents that send one token per second."""
    slow = MockAnswer(tokens=120, first_ms=500, gap_ms=1_000)
    quick = BenchEnsemble("quick", MockAnswer(5), MockAnswer(5))
    ensemble = BenchEnsemble("slow", slow, slow)
    processes = lab.choose(_PROCESSES, 2)
    count = lab.choose(_count_runs(), 50)
    requests = [TimedRequest(ensemble.request) for _ in range(count)]
    program = [*SERVICE[:-1], str(processes)]
    async with lab.run_service([quick, ensemble], program=program) as served:
        for _ in range(lab.choose(processes, 1)):  # the kernel chooses the process of a request
            await lab.warm_up(served, quick)
        before = served.process.read_memory()
        try:
            await _open(served, requests)
            await asyncio.sleep(lab.choose(3.0, 0.2))
            meter = lab.start_meter(served)
            health_s = await _probe_health(served, lab.choose(300, 20))
            after = served.process.read_memory()
            busy = meter.read_shares()
            _check(requests)
        finally:
            for request in requests:
                request.abort()
    return [
        _line_of_runs(before, after, count, f"{processes} processes; {busy}"),
        _line_of_processes(before, processes),
        _line_of_health(health_s),
    ]


def _count_runs() -> int:
    cores = len(os.sched_getaffinity(0))
    return min(_RUNS, _RUNS_PER_CORE * cores, _get_file_limit() // _FILES_PER_RUN)


def _line_of_runs(before: Memory, after: Memory, count: int, note: str) -> Line:
    run_kb, resident_kb = ((new - old) / 1000 / count for new, old in (
        (after.pss, before.pss), (after.rss, before.rss)
    ))  # fmt: skip
    return Line(
        f"memory of each of {count} open runs",
        f"{run_kb:.0f} KB",
        f"≤ {_RUN_KB:.0f} KB",
        f"growth of proportional memory (PSS; {resident_kb:.0f} KB of resident memory), "
        f"2 upstream streams a run, {note}",
        run_kb <= _RUN_KB,
    )


def _line_of_processes(memory: Memory, processes: int) -> Line:
    """Count the supervisor as one of the processes that share pages, not as a worker."""
    process_mb, resident_mb = (each / 1e6 / processes for each in (memory.pss, memory.rss))
    return Line(
        "memory of a process without runs",
        f"{process_mb:.0f} MB",
        f"≤ {_PROCESS_MB:.0f} MB",
        f"proportional memory of {processes} processes and their supervisor, for each process; "
        f"{resident_mb:.0f} MB of resident memory, in which each shared page counts for each",
        process_mb <= _PROCESS_MB,
    )


def _line_of_health(health_s: list[float]) -> Line:
    p95_ms = percentile(health_s, 0.95) * 1000
    return Line(
        "GET /health meanwhile",
        f"p95 {p95_ms:.1f} ms",
        f"p95 ≤ {_HEALTH_MS:.0f} ms",
        f"{len(health_s)} asked, slowest {max(health_s) * 1000:.1f} ms",
        p95_ms <= _HEALTH_MS,
    )


async def _open(served: Served, requests: list[TimedRequest]) -> None:
    """Start all runs at an even rate, and wait until the service counts them as open."""
    for request in requests:
        await connect(served.address, request)
        await asyncio.sleep(1 / _OPEN_PER_S)
    for _ in range(int(_WAIT_S / 0.1)):
        found = _INFLIGHT.search(await fetch(served.address, "/metrics"))
        if found and float(found[1]) >= len(requests):
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
