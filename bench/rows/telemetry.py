"""What telemetry costs: CPU per run, and what users feel, whatever state the collector is in."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

from bench.collectors import collectors, exported
from bench.fans import Fan, Speech
from bench.lab import Lab, Served
from bench.load import Busy, arrive, busiest, percentile
from bench.processes import BenchError
from bench.table import Line

_CPU, _CPU_AIM = 1.10, 1.05
_OPEN = 35  # of each, so that both together leave the machine room
_WINDOWS = 8
_P95 = 1.05
_ARRIVE_PER_S = 25
_BAD = ("dead", "slow", "refusing", "mute")
_SPANS_BESIDES, _SPANS_PER_CALL = 4, 3  # request, run, its opening and end; agent, chat, POST


@dataclass(frozen=True, slots=True)
class _Window:
    """CPU seconds of two services in the same stretch of time, under the same load."""

    off: float
    on: float
    busy: Busy


async def telemetry_cost(lab: Lab) -> list[Line]:
    """Ask a service that exports every span and one that makes none, both at once.

    In turns, the machine's moods between two windows were larger than what telemetry costs.
    """
    fan = Fan("streamed", lab.speech(), lab.speech())
    count = int(_WINDOWS * _seconds(lab) / _interval_s(lab, fan)) + lab.pick(_OPEN, 5)
    async with collectors(lab) as found:
        async with lab.service([fan]) as silent, lab.service([fan], found.told("well")) as telling:
            await lab.warm_up(silent, fan)
            warmed = len(await lab.warm_up(telling, fan))
            async with asyncio.TaskGroup() as group:
                for served in (silent, telling):
                    question = served.ask(fan)
                    group.create_task(
                        arrive(question, count=count, interval_s=_interval_s(lab, fan))
                    )
                # As many end as begin, and both have adapted to it.
                await asyncio.sleep(fan.run_s + lab.pick(0.6, 0.1))
                windows = [await _window(lab, silent, telling) for _ in range(_WINDOWS)]
        # Ended, it has sent what it had.
        spans = await found.spans()
    expected = _spans(fan) * (warmed + count)
    if spans != expected:
        raise BenchError(f"{spans} spans arrived instead of {expected}: this measured nothing.")
    runs = _WINDOWS * _seconds(lab) / _interval_s(lab, fan)
    return [_cost_line(windows, runs, f"{_spans(fan)} spans a run, all {spans} arrived")]


def _spans(fan: Fan) -> int:
    return _SPANS_BESIDES + _SPANS_PER_CALL * (fan.agents + 1)


def _cost_line(windows: list[_Window], runs: float, arrived: str) -> Line:
    off, on = sum(each.off for each in windows), sum(each.on for each in windows)
    if not off:
        raise BenchError("The windows were too short to measure anything.")
    ratios = [each.on / each.off for each in windows if each.off]
    return Line(
        "CPU per run, every span exported against no telemetry",
        f"{on / off:.2f} ×",
        f"≤ {_CPU:.2f} ×, aim {_CPU_AIM:.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}; {off / runs * 1000:.1f} and "
        f"{on / runs * 1000:.1f} ms a run; {arrived}; "
        f"{busiest([window.busy for window in windows])}",
        on / off <= _CPU,
    )


def _interval_s(lab: Lab, fan: Fan) -> float:
    return fan.run_s / lab.pick(_OPEN, 5)


async def _window(lab: Lab, silent: Served, telling: Served) -> _Window:
    meters = [lab.meter(served) for served in (silent, telling)]
    await asyncio.sleep(_seconds(lab))
    off, on = (meter.server_cpu_s() for meter in meters)
    return _Window(off, on, meters[1].busy())


def _seconds(lab: Lab) -> float:
    return lab.pick(5.0, 0.3)


async def telemetry_felt(lab: Lab) -> list[Line]:
    """Ask services whose collectors differ, in turns, and compare the first answer tokens."""
    # Short, so that 5 % of it is little: 8 ms.
    agent, combiner = Speech(11, first_ms=50), Speech(40, first_ms=50)
    fan = Fan("brief", agent, combiner)
    waits: dict[str, list[list[float]]] = {feels: [] for feels in ("off", "well", *_BAD)}
    # It is full after a second, and stays so.
    queue = {"OTEL_BSP_MAX_QUEUE_SIZE": str(lab.pick(256, 8))}
    async with collectors(lab) as found, AsyncExitStack() as stack:
        services: dict[str, Served] = {}
        for feels in waits:
            more = {} if feels == "off" else {**found.told(feels), **queue}
            services[feels] = await stack.enter_async_context(lab.service([fan], more))
            await lab.warm_up(services[feels], fan)
        meter = lab.meter(services["off"])
        for _ in range(lab.pick(6, 1)):
            for feels, served in services.items():
                waits[feels].append(await _waits(lab, served, fan))
        busy = meter.busy()
        fates = {feels: await _fate(feels, services[feels]) for feels in waits if feels != "off"}
        # At once: each tries for 3 s to get rid of its spans.
        await asyncio.gather(*(served.process.stop() for served in services.values()))
    return [
        _felt_line(feels, fan, waits["off"], waits[feels], f"{fate}; {_machine(busy)}")
        for feels, fate in fates.items()
    ]


async def _waits(lab: Lab, served: Served, fan: Fan) -> list[float]:
    """Return the seconds to the first answer token of runs that arrive evenly."""
    count = lab.pick(3 * _ARRIVE_PER_S, 5)
    exchanges = await arrive(served.ask(fan), count=count, interval_s=1 / _ARRIVE_PER_S)
    return [each.first_token - each.sent for each in exchanges]


async def _fate(feels: str, served: Served) -> str:
    """Say what became of the spans. Raises BenchError when the collector did not feel so."""
    fates = await exported(served.address)
    sent, failed, dropped = (fates.get(fate, 0) for fate in ("sent", "failed", "dropped"))
    if not sent if feels == "well" else sent or not dropped:
        raise BenchError(f"With a collector that is {feels}: {fates}. This measured nothing.")
    return f"{sent} spans sent, {failed} failed, {dropped} dropped"


def _felt_line(
    feels: str, fan: Fan, off: list[list[float]], on: list[list[float]], note: str
) -> Line:
    before, after = ([percentile(window, 0.95) for window in windows] for windows in (off, on))
    ratio = median(b / a for a, b in zip(before, after, strict=True))
    over = [(median(each) - fan.first_answer_s) * 1000 for each in (before, after)]
    return Line(
        f"first answer token, the collector {feels}",
        f"p95 {ratio - 1:+.1%}",
        f"p95 within {_P95 - 1:.0%} of no telemetry",
        f"p95 {over[1]:.1f} ms over the ideal of {fan.first_answer_s * 1000:.0f} ms, "
        f"{over[0]:.1f} ms without; {note}",
        ratio <= _P95,
    )


def _machine(busy: Busy) -> str:
    return f"others {busy.others:.0%} of a core"
