"""A run beside the floor: its CPU and its first answer token, with 50 open and started together.

The floor sends as many events as the answer has, at the same pace: 200, one every 5 ms. Both
sides get the same requests at the same times, in turns.
"""

from __future__ import annotations

from statistics import median

from bench.batches import Plan, Series, run_in_turns
from bench.ensembles import BenchEnsemble, MockAnswer
from bench.lab import Lab
from bench.load import percentile
from bench.table import Line

_ARRIVE_PER_S = 25  # a run takes two seconds: 50 are open
_OPEN = 50
_CPU = {"streamed": (1.8, 1.3), "whole": (1.3, 1.0)}
_TOGETHER, _TOGETHER_CPU = 300, {"streamed": 1.2, "whole": 0.9}
_AT_ONCE, _AT_ONCE_FIRST = 200, 1.15
_P50, _P95, _P50_AIM = 0.006, 0.010, 0.003


def make_ensembles(lab: Lab) -> list[BenchEnsemble]:
    """Return the default ensemble with streamed and with whole agents, at a model's pace."""
    answer = lab.choose(MockAnswer(first_ms=50), lab.default_answer())
    return [
        BenchEnsemble("streamed", answer, answer),
        BenchEnsemble("whole", answer, answer, stream=False),
    ]


async def measure_run(lab: Lab) -> list[Line]:
    """Start 25 runs per second, so that 50 are open."""
    ensembles = make_ensembles(lab)
    answer = ensembles[0].agent
    plan = Plan(
        lab.choose(4, 1), lab.choose(200, 6), lab.choose(1 / _ARRIVE_PER_S, 0.01),
        answer.tokens, answer.gap_ms,
    )  # fmt: skip
    async with lab.run_service(ensembles) as served:
        for ensemble in ensembles:
            await lab.warm_up(served, ensemble)
        floor, *series = await run_in_turns(lab, served, ensembles, plan)
    return [
        _floor_line(floor, f"{plan.count} streams, {1 / plan.interval_s:.0f} started per second"),
        *(
            _cpu_line(each, floor, f"agents {each.name}, {_OPEN} open", *_CPU[each.name])
            for each in series
        ),
        *(_first_line(lab, *pair) for pair in zip(series, ensembles, strict=True)),
    ]


async def measure_burst(lab: Lab) -> list[Line]:
    """Start many runs in one instant."""
    ensembles = make_ensembles(lab)
    answer = ensembles[0].agent
    pace = answer.tokens, answer.gap_ms
    together = Plan(lab.choose(4, 1), lab.choose(_TOGETHER, 5), 0.0, *pace)
    at_once = Plan(lab.choose(4, 1), lab.choose(_AT_ONCE, 4), 0.0, *pace)
    async with lab.run_service(ensembles) as served:
        for ensemble in ensembles:
            await lab.warm_up(served, ensemble)
        floor, *series = await run_in_turns(lab, served, ensembles, together)
        _, *waits = await run_in_turns(lab, served, ensembles, at_once)
    return [
        _floor_line(floor, f"{together.count} streams started in one instant"),
        *(
            _cpu_line(
                each, floor, f"agents {each.name}, {_TOGETHER} started at once",
                _TOGETHER_CPU[each.name],
            )
            for each in series
        ),
        *(_at_once_line(lab, *pair) for pair in zip(waits, ensembles, strict=True)),
    ]  # fmt: skip


def _floor_line(floor: Series, load: str) -> Line:
    note = f"{floor.cpu_ms:.2f} ms of CPU a stream of 200 events; {load}; {floor.busy}"
    return Line("floor: bare generator, 5 ms an event", "1", "", note)


def _cpu_line(
    series: Series, floor: Series, load: str, most: float, aim: float | None = None
) -> Line:
    ratios = series.list_ratios(floor)
    return Line(
        f"CPU per run, {load}",
        f"{median(ratios):.2f} × floor",
        f"≤ {most} ×" + (f", aim {aim}" if aim else ""),
        f"{min(ratios):.2f} to {max(ratios):.2f}; {series.cpu_ms:.1f} ms a run; {series.busy}",
        median(ratios) <= most,
    )


def _first_line(lab: Lab, series: Series, ensemble: BenchEnsemble) -> Line:
    ideal_s = ensemble.first_answer_s
    # The first runs of a batch meet an idle service.
    warm_up = lab.choose(_OPEN, 1)
    waits = [each.list_first_s(warm_up) for each in series.batches]
    # Medians over batches: a burst of other load then affects only one of them.
    p50 = median(map(median, waits)) - ideal_s
    p95 = median(percentile(each, 0.95) for each in waits) - ideal_s
    return Line(
        f"first answer token over the ideal, agents {ensemble.name}, {_OPEN} open",
        f"p50 {p50 / ideal_s:+.2%}, p95 {p95 / ideal_s:+.2%}",
        f"p50 ≤ {_P50:.1%}, p95 ≤ {_P95:.1%}, aim p50 {_P50_AIM:.1%}",
        f"{sum(map(len, waits))} runs in {len(waits)} batches; ideal {ideal_s * 1000:.0f} ms, "
        f"p50 {p50 * 1000:+.1f} ms, p95 {p95 * 1000:+.1f} ms; {series.busy}",
        lab.quick or (p50 <= _P50 * ideal_s and p95 <= _P95 * ideal_s),
    )


def _at_once_line(lab: Lab, series: Series, ensemble: BenchEnsemble) -> Line:
    p50s = [median(each.list_first_s()) for each in series.batches]
    ratios = [each / ensemble.first_answer_s for each in p50s]
    return Line(
        f"first answer token, agents {ensemble.name}, {_AT_ONCE} started in one instant",
        f"p50 {median(ratios):.2f} × the ideal",
        f"p50 ≤ {_AT_ONCE_FIRST} ×",
        f"{min(ratios):.2f} to {max(ratios):.2f}; p50 {median(p50s) * 1000:.0f} ms, ideal "
        f"{ensemble.first_answer_s * 1000:.0f} ms; {series.busy}",
        lab.quick or median(ratios) <= _AT_ONCE_FIRST,
    )
