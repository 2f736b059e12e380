"""Delay of the first answer token over the ideal: the agents' time plus the combiner's first."""

from __future__ import annotations

from statistics import median

from bench.ensembles import BenchEnsemble, MockAnswer
from bench.lab import Lab, Served
from bench.load import percentile, send_evenly
from bench.table import Line

_P50, _P95 = 0.01, 0.02
_WINDOW_S = 15.0
_SLICES = 5


async def measure_latency(lab: Lab) -> list[Line]:
    """Ask at an even rate with about 50 open runs; the overhead is relative to the ideal."""
    agent, combiner = lab.choose(MockAnswer(tokens=181), lab.default_answer()), lab.default_answer()
    ensembles = [
        BenchEnsemble(name, agent, combiner, stream=name == "streamed")
        for name in ("streamed", "whole")
    ]
    ensembles = ensembles[: lab.choose(2, 1)]
    async with lab.run_service(ensembles) as served:
        for ensemble in ensembles:
            await lab.warm_up(served, ensemble)
        return [await _line(lab, served, ensemble) for ensemble in ensembles]


async def _line(lab: Lab, served: Served, ensemble: BenchEnsemble) -> Line:
    open_runs = lab.choose(50, 5)
    interval_s = ensemble.run_s / open_runs
    count = int(lab.choose(_WINDOW_S, 0.5) / interval_s) + open_runs
    meter = lab.start_meter(served)
    requests = await send_evenly(
        served.build_question(ensemble), count=count, interval_s=interval_s
    )
    busy = meter.read_shares()
    ideal_s = ensemble.first_answer_s
    # The first runs meet an idle service, so only the later ones count.
    over = [each.first_token - each.sent - ideal_s for each in requests[open_runs:]]
    # Medians over slices of time: a burst of other load then affects only one slice.
    size = max(1, len(over) // lab.choose(_SLICES, 1))
    slices = [over[start : start + size] for start in range(0, len(over) - size + 1, size)]
    p50 = median(median(each) for each in slices)
    p95 = median(percentile(each, 0.95) for each in slices)
    return Line(
        f"first answer token over the ideal, agents {ensemble.name}",
        f"p50 {p50 / ideal_s:+.2%}, p95 {p95 / ideal_s:+.2%}",
        f"p50 ≤ {_P50:.0%}, p95 ≤ {_P95:.0%}",
        f"{open_runs} runs open, {len(over)} measured in {len(slices)} slices; "
        f"ideal {ideal_s * 1000:.0f} ms, "
        f"p50 {p50 * 1000:+.1f} ms, p95 {p95 * 1000:+.1f} ms; {busy}",
        p50 <= _P50 * ideal_s and p95 <= _P95 * ideal_s,
    )
