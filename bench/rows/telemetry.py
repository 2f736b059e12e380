"""Cost of telemetry: CPU per run, and delay of the first answer token for each collector."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

from bench.collectors import read_export_counts, run_collectors
from bench.ensembles import BenchEnsemble, MockAnswer, format_no_hedges
from bench.lab import Lab, Served
from bench.load import CpuShares, find_highest_shares, percentile, send_evenly
from bench.processes import BenchError
from bench.table import Line

_CPU = 1.04
_OPEN = 35  # for each, so that both together do not saturate the machine
_WINDOWS = 8
_P95 = 1.05
_ARRIVE_PER_S = 25
_BAD = ("dead", "slow", "refusing", "mute")
_SPANS_BESIDES, _SPANS_PER_CALL = 4, 3  # request, run, open_run, end_run; agent, chat, POST


@dataclass(frozen=True, slots=True)
class _Window:
    """CPU seconds of two services in the same interval under the same load."""

    off: float
    on: float
    busy: CpuShares


async def measure_telemetry_cost(lab: Lab) -> list[Line]:
    """Ask a service with and one without span export in parallel.

    In turns, the variation between two windows was larger than the cost of telemetry.
    """
    # A hedge would add spans.
    ensemble = BenchEnsemble(
        "streamed",
        lab.default_answer(),
        lab.default_answer(),
        tables=format_no_hedges(lab.upstream_url),
    )
    count = int(_WINDOWS * _seconds(lab) / _interval_s(lab, ensemble)) + lab.choose(_OPEN, 5)
    async with run_collectors(lab) as found:
        async with (
            lab.run_service([ensemble]) as untraced,
            lab.run_service([ensemble], found.build_environment("well")) as traced,
        ):
            await lab.warm_up(untraced, ensemble)
            warmed = len(await lab.warm_up(traced, ensemble))
            async with asyncio.TaskGroup() as group:
                for served in (untraced, traced):
                    question = served.build_question(ensemble)
                    group.create_task(
                        send_evenly(question, count=count, interval_s=_interval_s(lab, ensemble))
                    )
                # By now as many runs end as start, and both services have adapted to the load.
                await asyncio.sleep(ensemble.run_s + lab.choose(0.6, 0.1))
                windows = [await _window(lab, untraced, traced) for _ in range(_WINDOWS)]
        # The service has exported all its spans at its end.
        spans = await found.count_spans()
    expected = _count_spans(ensemble) * (warmed + count)
    if spans != expected:
        raise BenchError(f"{spans} spans arrived instead of {expected}: this measured nothing.")
    runs = _WINDOWS * _seconds(lab) / _interval_s(lab, ensemble)
    return [_cost_line(windows, runs, f"{_count_spans(ensemble)} spans a run, all {spans} arrived")]


def _count_spans(ensemble: BenchEnsemble) -> int:
    return _SPANS_BESIDES + _SPANS_PER_CALL * (ensemble.agents + 1)


def _cost_line(windows: list[_Window], runs: float, arrived: str) -> Line:
    off, on = sum(each.off for each in windows), sum(each.on for each in windows)
    if not off:
        raise BenchError("The windows were too short to measure anything.")
    ratios = [each.on / each.off for each in windows if each.off]
    return Line(
        "CPU per run, every span exported against no telemetry",
        f"{on / off:.2f} ×",
        f"≤ {_CPU:.2f} ×",
        f"{min(ratios):.2f} to {max(ratios):.2f}; {off / runs * 1000:.1f} and "
        f"{on / runs * 1000:.1f} ms a run; {arrived}; "
        f"{find_highest_shares([window.busy for window in windows])}",
        on / off <= _CPU,
    )


def _interval_s(lab: Lab, ensemble: BenchEnsemble) -> float:
    return ensemble.run_s / lab.choose(_OPEN, 5)


async def _window(lab: Lab, untraced: Served, traced: Served) -> _Window:
    meters = [lab.start_meter(served) for served in (untraced, traced)]
    await asyncio.sleep(_seconds(lab))
    off, on = (meter.server_cpu_s() for meter in meters)
    return _Window(off, on, meters[1].read_shares())


def _seconds(lab: Lab) -> float:
    return lab.choose(5.0, 0.3)


async def measure_collector_effect(lab: Lab) -> list[Line]:
    """Ask services with different collectors in turns; compare the first answer tokens."""
    # Short runs, so that 5 % of them is only 8 ms.
    agent, combiner = MockAnswer(11, first_ms=50), MockAnswer(40, first_ms=50)
    ensemble = BenchEnsemble("brief", agent, combiner)
    waits: dict[str, list[list[float]]] = {condition: [] for condition in ("off", "well", *_BAD)}
    # Small, so that it is full after a second.
    queue = {"OTEL_BSP_MAX_QUEUE_SIZE": str(lab.choose(256, 8))}
    async with run_collectors(lab) as found, AsyncExitStack() as stack:
        services: dict[str, Served] = {}
        for condition in waits:
            more = {} if condition == "off" else {**found.build_environment(condition), **queue}
            services[condition] = await stack.enter_async_context(lab.run_service([ensemble], more))
            await lab.warm_up(services[condition], ensemble)
        meter = lab.start_meter(services["off"])
        for _ in range(lab.choose(6, 1)):
            for condition, served in services.items():
                waits[condition].append(await _measure_waits(lab, served, ensemble))
        busy = meter.read_shares()
        counts = {
            condition: await _describe_export(condition, services[condition])
            for condition in waits
            if condition != "off"
        }
        # In parallel: each service tries for 3 s to export its spans.
        await asyncio.gather(*(served.process.stop() for served in services.values()))
    return [
        _effect_line(
            condition, ensemble, waits["off"], waits[condition], f"{fate}; {_machine(busy)}"
        )
        for condition, fate in counts.items()
    ]


async def _measure_waits(lab: Lab, served: Served, ensemble: BenchEnsemble) -> list[float]:
    """Return the seconds to the first answer token of runs that start at an even rate."""
    count = lab.choose(3 * _ARRIVE_PER_S, 5)
    requests = await send_evenly(
        served.build_question(ensemble), count=count, interval_s=1 / _ARRIVE_PER_S
    )
    return [each.first_token - each.sent for each in requests]


async def _describe_export(condition: str, served: Served) -> str:
    """Return the span counts as text. Raises BenchError unless they fit the condition."""
    counts = await read_export_counts(served.address)
    sent, failed, dropped = (counts.get(outcome, 0) for outcome in ("sent", "failed", "dropped"))
    if not sent if condition == "well" else sent or not dropped:
        raise BenchError(f"With a collector that is {condition}: {counts}. This measured nothing.")
    return f"{sent} spans sent, {failed} failed, {dropped} dropped"


def _effect_line(
    condition: str,
    ensemble: BenchEnsemble,
    off: list[list[float]],
    on: list[list[float]],
    note: str,
) -> Line:
    before, after = ([percentile(window, 0.95) for window in windows] for windows in (off, on))
    ratio = median(b / a for a, b in zip(before, after, strict=True))
    over = [(median(each) - ensemble.first_answer_s) * 1000 for each in (before, after)]
    return Line(
        f"first answer token, the collector {condition}",
        f"p95 {ratio - 1:+.1%}",
        f"p95 within {_P95 - 1:.0%} of no telemetry",
        f"p95 {over[1]:.1f} ms over the ideal of {ensemble.first_answer_s * 1000:.0f} ms, "
        f"{over[0]:.1f} ms without; {note}",
        ratio <= _P95,
    )


def _machine(busy: CpuShares) -> str:
    return f"others {busy.others:.0%} of a core"
