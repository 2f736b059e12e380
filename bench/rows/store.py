"""What it costs that nothing is lost: runs per second and first answer tokens, with and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median

import pytest

from bench.fans import Fan, Speech
from bench.lab import SERVICE, Lab, Served
from bench.load import Window, arrive, busiest, percentile
from bench.processes import BenchError, cpu_s
from bench.table import Line
from tests._support.servers.databases import Postgres, postgres_server

_LEAST, _LATER = 0.8, 0.015
_ROUNDS = 3
_OPEN = 28  # of each, so that all three together leave the machine room
_WITHOUT = ("bench.without_store",)
_ADAPT_S = 1.5  # beyond what others need: the queue of a service that cannot keep up grows slowly


@dataclass(frozen=True, slots=True)
class _Kept:
    """A service and how it keeps its runs; `database_pid` when that is a process of its own."""

    name: str
    served: Served
    database_pid: int | None = None

    def database_cpu_s(self) -> float:
        return cpu_s(self.database_pid) if self.database_pid else 0.0


@dataclass(frozen=True, slots=True)
class _Measured:
    """A window, and the CPU seconds of the database's own processes in it."""

    window: Window
    database_cpu_s: float

    def runs(self, fan: Fan) -> float:
        if not self.window.tally.tokens:
            raise BenchError("A window was too short to measure anything.")
        return self.window.tally.tokens / fan.combiner.tokens

    def runs_per_s(self, fan: Fan) -> float:
        return self.runs(fan) / self.window.seconds


async def store(lab: Lab) -> list[Line]:
    """Saturate the service with runs as they usually are, 200 tokens at a model's pace."""
    fan = Fan("typical", lab.speech(), lab.speech())
    return await _saturated(lab, fan, lab.pick(300, 5), _LEAST)


async def store_short(lab: Lab) -> list[Line]:
    """The same with runs that are over at once, so that the store is most of what they cost."""
    speech = Speech(tokens=20, first_ms=0, gap_ms=0)
    return await _saturated(lab, Fan("short", speech, speech), lab.pick(50, 5))


async def store_cost(lab: Lab) -> list[Line]:
    """Ask all three at once, at a load that leaves the machine room: the least noisy of these."""
    fan = Fan("typical", lab.speech(), lab.speech())
    interval_s = fan.run_s / lab.pick(_OPEN, 5)
    windows, seconds = lab.pick(6, 1), lab.pick(5.0, 0.3)
    settle_s = fan.run_s + lab.pick(0.6, 0.1)
    count = int((settle_s + windows * seconds) / interval_s)
    used: list[list[float]] = []
    async with _services(lab, fan) as services, asyncio.TaskGroup() as group:
        for kept in services:
            question = kept.served.ask(fan)
            group.create_task(arrive(question, count=count, interval_s=interval_s))
        await asyncio.sleep(settle_s)
        for _ in range(windows):
            before = [kept.served.process.cpu_s() for kept in services]
            await asyncio.sleep(seconds)
            after = [kept.served.process.cpu_s() for kept in services]
            used.append([now - then for now, then in zip(after, before, strict=True)])
    runs = seconds / interval_s
    without, *others = zip(*used, strict=True)
    return [
        _cost_line(name, without, found, runs)
        for name, found in zip(("SQLite", "PostgreSQL"), others, strict=True)
    ]


def _cost_line(name: str, without: Sequence[float], found: Sequence[float], runs: float) -> Line:
    if not all(without):
        raise BenchError("The windows were too short to measure anything.")
    ratios = [one / bare for one, bare in zip(found, without, strict=True)]
    return Line(
        f"CPU per run with {name} against without a store, {_OPEN} runs open of each",
        f"{sum(found) / sum(without):.2f} ×",
        "",
        f"{min(ratios):.2f} to {max(ratios):.2f}; {median(without) / runs * 1000:.1f} and "
        f"{median(found) / runs * 1000:.1f} ms a run, the database's own not counted",
    )


async def store_first(lab: Lab) -> list[Line]:
    """A question is committed before it is asked: how much later the first answer token comes."""
    agent, combiner = lab.pick(Speech(181), lab.speech()), lab.speech()
    fan = Fan("typical", agent, combiner)
    waits: dict[str, list[list[float]]] = {}
    async with _services(lab, fan) as services:
        for _ in range(lab.pick(_ROUNDS, 1)):
            for kept in services:
                waits.setdefault(kept.name, []).append(await _waits(lab, kept.served, fan))
    without = waits.pop("without")
    return [_first_line(name, fan, without, found) for name, found in waits.items()]


@asynccontextmanager
async def _services(lab: Lab, fan: Fan) -> AsyncIterator[Sequence[_Kept]]:
    """Offer the service without a store, with SQLite and with PostgreSQL, warmed up."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(_postgres())
        there = {"DATABASE_URL": postgres.new_database(), "MIGRATE_ON_START": "true"}
        without, sqlite, postgresql = [
            await stack.enter_async_context(lab.service([fan], more, program))
            for more, program in (({}, _WITHOUT), ({}, SERVICE), (there, SERVICE))
        ]
        for served in (without, sqlite, postgresql):
            await lab.warm_up(served, fan)
        yield [
            _Kept("without", without),
            _Kept("SQLite", sqlite),
            _Kept("PostgreSQL", postgresql, postgres.pids[0]),
        ]


@contextmanager
def _postgres() -> Iterator[Postgres]:
    """Run a server that waits for the disk, as real ones do."""
    try:
        with postgres_server(fsync="on", full_page_writes="on", shared_buffers="128MB") as server:
            yield server
    except pytest.skip.Exception as missing:
        raise BenchError(str(missing)) from missing


async def _saturated(lab: Lab, fan: Fan, streams: int, least: float | None = None) -> list[Line]:
    taken: dict[str, list[_Measured]] = {}
    async with _services(lab, fan) as services:
        for _ in range(lab.pick(_ROUNDS, 1)):
            for kept in services:
                taken.setdefault(kept.name, []).append(await _measure(lab, kept, fan, streams))
    without = taken.pop("without")
    return [
        Line(f"runs per second without a store, {fan.name}", "1", "", _note(fan, without)),
        *(_line(fan, name, without, found, least) for name, found in taken.items()),
    ]


async def _measure(lab: Lab, kept: _Kept, fan: Fan, streams: int) -> _Measured:
    async with lab.load(kept.served, fan) as load:
        await load.raise_to(streams)
        await load.measure(lab.pick(_ADAPT_S, 0.1))
        before = kept.database_cpu_s()
        window = await load.measure(lab.pick(5.0, 0.3))
        return _Measured(window, kept.database_cpu_s() - before)


def _line(
    fan: Fan,
    name: str,
    without: Sequence[_Measured],
    found: Sequence[_Measured],
    least: float | None,
) -> Line:
    pairs = zip(found, without, strict=True)
    ratios = [one.runs_per_s(fan) / bare.runs_per_s(fan) for one, bare in pairs]
    ratio = median(ratios)
    return Line(
        f"the same with {name}",
        f"{ratio:.2f} ×",
        "" if least is None else f"≥ {least} ×",
        f"{min(ratios):.2f} to {max(ratios):.2f}; {_note(fan, found)}",
        None if least is None else ratio >= least,
    )


def _note(fan: Fan, found: Sequence[_Measured]) -> str:
    rate = median(each.runs_per_s(fan) for each in found)
    own_ms = median(each.window.cpu_s / each.runs(fan) for each in found) * 1000
    database_ms = median(each.database_cpu_s / each.runs(fan) for each in found) * 1000
    database = f" and {database_ms:.1f} ms of the database's" if database_ms else ""
    busy = busiest([each.window.busy for each in found])
    return f"{rate:.0f} a second; {own_ms:.1f} ms of the service's CPU{database} a run; {busy}"


async def _waits(lab: Lab, served: Served, fan: Fan) -> list[float]:
    """Return how many seconds over the ideal first answer tokens are, with 50 runs at once."""
    open_runs = lab.pick(50, 5)
    interval_s = fan.run_s / open_runs
    count = int(lab.pick(8.0, 0.5) / interval_s) + open_runs
    exchanges = await arrive(served.ask(fan), count=count, interval_s=interval_s)
    # The first arrivals meet an idle service: only what came to the full number counts.
    return [each.first_token - each.sent - fan.first_answer_s for each in exchanges[open_runs:]]


def _first_line(
    name: str, fan: Fan, without: Sequence[Sequence[float]], found: Sequence[Sequence[float]]
) -> Line:
    bare, kept = ([percentile(each, 0.95) for each in waits] for waits in (without, found))
    later = [(with_it - without_it) for with_it, without_it in zip(kept, bare, strict=True)]
    half = median(map(median, found)) - median(map(median, without))
    return Line(
        f"first answer token, with {name} against without",
        f"p95 {median(later) / fan.first_answer_s:+.2%}",
        f"p95 within {_LATER:.1%}",
        f"p95 {median(later) * 1000:+.1f} ms, {min(later) * 1000:+.1f} to "
        f"{max(later) * 1000:+.1f}; p50 {half * 1000:+.1f} ms; without, p95 is "
        f"{median(bare) * 1000:.1f} ms over the ideal of {fan.first_answer_s * 1000:.0f} ms",
        median(later) <= _LATER * fan.first_answer_s,
    )
