"""Runs whose combiner breaks off midway in 1 % of its calls, with and without continuation."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from bench.client import TimedRequest, connect
from bench.ensembles import BenchEnsemble, MockAnswer
from bench.lab import Lab, Served
from bench.table import Line

_CUT = "&fault=reset&after=10&rate=0.01"
_AT_ONCE = 20


async def measure_cut(lab: Lab) -> list[Line]:
    """Ask two services the same questions, and count the runs that failed."""
    combiner = MockAnswer(tokens=20, first_ms=5, gap_ms=5, fault=_CUT)
    settings = {"continued": "", "failed": "continue = 0"}
    ensembles = {
        name: BenchEnsemble(name, MockAnswer(5, 5, 5), combiner, settings=setting)
        for name, setting in settings.items()
    }
    async with AsyncExitStack() as stack:
        services = {
            name: await stack.enter_async_context(lab.run_service([ensemble], needs_mock=True))
            for name, ensemble in ensembles.items()
        }
        count = lab.choose(2_000, 20)
        failed = [await _count_failed(services[name], ensembles[name], count) for name in ensembles]
    return [
        Line(
            "failed runs with 1 % of combiners cut midway",
            f"{failed[0]} of {count}",
            "0",
            f"{failed[1]} of {count} without continuation",
            failed[0] == 0,
        )
    ]


async def _count_failed(served: Served, ensemble: BenchEnsemble, count: int) -> int:
    failed = 0
    for start in range(0, count, _AT_ONCE):
        batch = min(_AT_ONCE, count - start)
        ends = await asyncio.gather(*(_ask(served, ensemble) for _ in range(batch)))
        failed += sum(b'"run.finished"' not in end for end in ends)
    return failed


async def _ask(served: Served, ensemble: BenchEnsemble) -> bytes:
    """Return the last event of a run."""
    request = await connect(served.address, TimedRequest(ensemble.request))
    await request.done
    return request.last_event
