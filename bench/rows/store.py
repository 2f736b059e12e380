"""Cost of durable runs: runs per second, CPU and first answer tokens with and without a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median

from bench.ensembles import BenchEnsemble, MockAnswer
from bench.lab import SERVICE, Lab, Served
from bench.load import Window, find_highest_shares, percentile, send_evenly
from bench.processes import BenchError, read_cpu_s
from bench.table import Line

_LEAST, _LATER, _SHARE = 0.8, 0.015, 0.06
_ROUNDS = 3
_OPEN = 28  # for each, so that all three together do not saturate the machine
_WITHOUT = ("bench.without_store",)
_ADAPT_S = 1.5  # more than elsewhere: the queue of an overloaded service grows slowly


@dataclass(frozen=True, slots=True)
class _Variant:
    """A service with one kind of store; `database_pid` if its database is another process."""

    name: str
    served: Served
    database_pid: int | None = None

    def database_cpu_s(self) -> float:
        return read_cpu_s(self.database_pid) if self.database_pid else 0.0


@dataclass(frozen=True, slots=True)
class _Measured:
    """A window, and the CPU seconds of the database's processes in it."""

    window: Window
    database_cpu_s: float

    def runs(self, ensemble: BenchEnsemble) -> float:
        if not self.window.tally.tokens:
            raise BenchError("A window was too short to measure anything.")
        return self.window.tally.tokens / ensemble.combiner.tokens

    def runs_per_s(self, ensemble: BenchEnsemble) -> float:
        return self.runs(ensemble) / self.window.seconds


async def measure_store(lab: Lab) -> list[Line]:
    """Saturate the service with typical runs: 200 tokens at a model's pace."""
    ensemble = BenchEnsemble("typical", lab.default_answer(), lab.default_answer())
    return await _measure_saturated(lab, ensemble, lab.choose(300, 5), _LEAST)


async def measure_store_short(lab: Lab) -> list[Line]:
    """Saturate the service with very short runs, which cost little except for the store."""
    answer = MockAnswer(tokens=20, first_ms=0, gap_ms=0)
    return await _measure_saturated(lab, BenchEnsemble("short", answer, answer), lab.choose(50, 5))


async def measure_store_cost(lab: Lab) -> list[Line]:
    """Ask all three in parallel below saturation, the measurement with the least noise."""
    ensemble = BenchEnsemble("typical", lab.default_answer(), lab.default_answer())
    interval_s = ensemble.run_s / lab.choose(_OPEN, 5)
    windows, seconds = lab.choose(6, 1), lab.choose(5.0, 0.3)
    settle_s = ensemble.run_s + lab.choose(0.6, 0.1)
    count = int((settle_s + windows * seconds) / interval_s)
    used: list[list[float]] = []
    async with _run_services(lab, ensemble) as services, asyncio.TaskGroup() as group:
        for variant in services:
            question = variant.served.build_question(ensemble)
            group.create_task(send_evenly(question, count=count, interval_s=interval_s))
        await asyncio.sleep(settle_s)
        for _ in range(windows):
            before = [variant.served.process.read_cpu_s() for variant in services]
            await asyncio.sleep(seconds)
            after = [variant.served.process.read_cpu_s() for variant in services]
            used.append([now - then for now, then in zip(after, before, strict=True)])
    runs = seconds / interval_s
    without, *others = zip(*used, strict=True)
    return [
        _share_line(lab, name, without, found, runs)
        for name, found in zip(("SQLite", "PostgreSQL"), others, strict=True)
    ]


def _share_line(
    lab: Lab, name: str, without: Sequence[float], found: Sequence[float], runs: float
) -> Line:
    """Return the share of the store: of the CPU with it, the part that is not spent without it."""
    if not all(found):
        raise BenchError("The windows were too short to measure anything.")
    shares = [1 - bare / one for one, bare in zip(found, without, strict=True)]
    share = 1 - sum(without) / sum(found)
    has_target = name == "SQLite"  # the default
    return Line(
        f"share of the store in the CPU of a run, {name}",
        f"{share:.0%}",
        f"≤ {_SHARE:.0%}" if has_target else "",
        f"{min(shares):.0%} to {max(shares):.0%}; {median(found) / runs * 1000:.1f} ms a run, "
        f"{median(without) / runs * 1000:.1f} without a store, {_OPEN} runs open of each; all "
        "threads of the service, the database's own processes not counted",
        lab.quick or share <= _SHARE if has_target else None,
    )


async def measure_store_first_token(lab: Lab) -> list[Line]:
    """Measure the delay of the first answer token, since a question is committed first."""
    agent, combiner = lab.choose(MockAnswer(181), lab.default_answer()), lab.default_answer()
    ensemble = BenchEnsemble("typical", agent, combiner)
    waits: dict[str, list[list[float]]] = {}
    async with _run_services(lab, ensemble) as services:
        for _ in range(lab.choose(_ROUNDS, 1)):
            for variant in services:
                waits.setdefault(variant.name, []).append(
                    await _measure_waits(lab, variant.served, ensemble)
                )
    without = waits.pop("without")
    return [_first_token_line(name, ensemble, without, found) for name, found in waits.items()]


@asynccontextmanager
async def _run_services(lab: Lab, ensemble: BenchEnsemble) -> AsyncIterator[Sequence[_Variant]]:
    """Run the service without a store, with SQLite and with PostgreSQL, after a warm-up."""
    async with AsyncExitStack() as stack:
        postgres = lab.databases.get_postgres()
        there = {"DATABASE_URL": postgres.new_database(), "MIGRATE_ON_START": "true"}
        without, sqlite, postgresql = [
            await stack.enter_async_context(lab.run_service([ensemble], more, program))
            for more, program in (({}, _WITHOUT), ({}, SERVICE), (there, SERVICE))
        ]
        for served in (without, sqlite, postgresql):
            await lab.warm_up(served, ensemble)
        yield [
            _Variant("without", without),
            _Variant("SQLite", sqlite),
            _Variant("PostgreSQL", postgresql, postgres.pids[0]),
        ]


async def _measure_saturated(
    lab: Lab, ensemble: BenchEnsemble, streams: int, least: float | None = None
) -> list[Line]:
    taken: dict[str, list[_Measured]] = {}
    async with _run_services(lab, ensemble) as services:
        for _ in range(lab.choose(_ROUNDS, 1)):
            for variant in services:
                taken.setdefault(variant.name, []).append(
                    await _measure(lab, variant, ensemble, streams)
                )
    without = taken.pop("without")
    return [
        Line(
            f"runs per second without a store, {ensemble.name}", "1", "", _note(ensemble, without)
        ),
        *(_line(ensemble, name, without, found, least) for name, found in taken.items()),
    ]


async def _measure(lab: Lab, variant: _Variant, ensemble: BenchEnsemble, streams: int) -> _Measured:
    async with lab.create_load(variant.served, ensemble) as load:
        await load.raise_to(streams)
        await load.measure(lab.choose(_ADAPT_S, 0.1))
        before = variant.database_cpu_s()
        window = await load.measure(lab.choose(5.0, 0.3))
        return _Measured(window, variant.database_cpu_s() - before)


def _line(
    ensemble: BenchEnsemble,
    name: str,
    without: Sequence[_Measured],
    found: Sequence[_Measured],
    least: float | None,
) -> Line:
    pairs = zip(found, without, strict=True)
    ratios = [one.runs_per_s(ensemble) / bare.runs_per_s(ensemble) for one, bare in pairs]
    ratio = median(ratios)
    return Line(
        f"the same with {name}",
        f"{ratio:.2f} ×",
        "" if least is None else f"≥ {least} ×",
        f"{min(ratios):.2f} to {max(ratios):.2f}; {_note(ensemble, found)}",
        None if least is None else ratio >= least,
    )


def _note(ensemble: BenchEnsemble, found: Sequence[_Measured]) -> str:
    rate = median(each.runs_per_s(ensemble) for each in found)
    own_ms = median(each.window.cpu_s / each.runs(ensemble) for each in found) * 1000
    database_ms = median(each.database_cpu_s / each.runs(ensemble) for each in found) * 1000
    database = f" and {database_ms:.1f} ms of the database's" if database_ms else ""
    busy = find_highest_shares([each.window.busy for each in found])
    return f"{rate:.0f} a second; {own_ms:.1f} ms of the service's CPU{database} a run; {busy}"


async def _measure_waits(lab: Lab, served: Served, ensemble: BenchEnsemble) -> list[float]:
    """Return the seconds over the ideal of first answer tokens, with 50 open runs."""
    open_runs = lab.choose(50, 5)
    interval_s = ensemble.run_s / open_runs
    count = int(lab.choose(8.0, 0.5) / interval_s) + open_runs
    requests = await send_evenly(
        served.build_question(ensemble), count=count, interval_s=interval_s
    )
    # The first runs meet an idle service, so only the later ones count.
    return [each.first_token - each.sent - ensemble.first_answer_s for each in requests[open_runs:]]


def _first_token_line(
    name: str,
    ensemble: BenchEnsemble,
    without: Sequence[Sequence[float]],
    found: Sequence[Sequence[float]],
) -> Line:
    bare, variant = ([percentile(each, 0.95) for each in waits] for waits in (without, found))
    later = [(with_it - without_it) for with_it, without_it in zip(variant, bare, strict=True)]
    half = median(map(median, found)) - median(map(median, without))
    return Line(
        f"first answer token, with {name} against without",
        f"p95 {median(later) / ensemble.first_answer_s:+.2%}",
        f"p95 within {_LATER:.1%}",
        f"p95 {median(later) * 1000:+.1f} ms, {min(later) * 1000:+.1f} to "
        f"{max(later) * 1000:+.1f}; p50 {half * 1000:+.1f} ms; without, p95 is "
        f"{median(bare) * 1000:.1f} ms over the ideal of {ensemble.first_answer_s * 1000:.0f} ms",
        median(later) <= _LATER * ensemble.first_answer_s,
    )
