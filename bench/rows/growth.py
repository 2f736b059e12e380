"""CPU of a run as the store grows from a thousand stored runs to a million."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from statistics import median

from bench.batches import run_batch
from bench.ensembles import BenchEnsemble
from bench.lab import Lab, Served
from bench.processes import BenchError
from bench.rows.run import make_ensembles
from bench.table import Line, format_count

_MOST = 1.10
_INTERVAL_S = 0.08  # for each, so that both together do not saturate the machine


async def measure_growth_sqlite(lab: Lab) -> list[Line]:
    return [await _measure(lab, "SQLite")]


async def measure_growth_postgresql(lab: Lab) -> list[Line]:
    return [await _measure(lab, "PostgreSQL")]


async def _measure(lab: Lab, name: str) -> Line:
    """Ask both services at the same time, so that other work on the machine slows both."""
    few, many = lab.choose((1_000, 1_000_000), (100, 400))
    ensemble = make_ensembles(lab)[0]
    urls = [await lab.databases.get_corpus(name, runs) for runs in (few, many)]
    async with AsyncExitStack() as stack:
        services = [
            await stack.enter_async_context(lab.run_service([ensemble], {"DATABASE_URL": url}))
            for url in urls
        ]
        for served in services:
            await lab.warm_up(served, ensemble)
        turns = [
            await asyncio.gather(
                *(
                    _measure_cpu_ms(lab, ensemble, *each)
                    for each in zip(services, urls, strict=True)
                )
            )
            for _ in range(lab.choose(6, 1))
        ]
    if not all(map(all, turns)):
        raise BenchError("The batches were too short to measure anything.")
    ratios = [after / before for before, after in turns]
    cpu_ms = [median(each) for each in zip(*turns, strict=True)]
    return Line(
        f"CPU per run, {name}, {format_count(many)} stored runs against {format_count(few)}",
        f"{median(ratios):.2f} ×",
        f"≤ {_MOST:.2f} ×",
        f"{min(ratios):.2f} to {max(ratios):.2f}; {cpu_ms[0]:.1f} and {cpu_ms[1]:.1f} ms a run, "
        "the database's processes included",
        lab.quick or median(ratios) <= _MOST,
    )


async def _measure_cpu_ms(lab: Lab, ensemble: BenchEnsemble, served: Served, url: str) -> float:
    """Return the CPU milliseconds per run of a service and of its database's processes."""
    before_s = _read_database_cpu_s(lab, url)
    question, count = served.build_question(ensemble), lab.choose(75, 5)
    batch = await run_batch(lab, served, question, count, _INTERVAL_S)
    return batch.cpu_ms + (_read_database_cpu_s(lab, url) - before_s) / count * 1000


def _read_database_cpu_s(lab: Lab, url: str) -> float:
    return 0.0 if url.startswith("sqlite") else lab.databases.read_postgres_cpu_s(url)
