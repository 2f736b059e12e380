"""First answer token against the ideal: the agents' last token, then the combiner's first."""

from __future__ import annotations

from statistics import median

from bench.fans import Fan, Speech
from bench.lab import Lab, Served
from bench.load import arrive, percentile
from bench.table import Line

_P50, _P95 = 0.01, 0.02
_WINDOW_S = 15.0
_SLICES = 5


async def latency(lab: Lab) -> list[Line]:
    """Ask at an even rate that keeps about 50 runs open; overhead is relative to the ideal."""
    agent, combiner = lab.pick(Speech(tokens=181), lab.speech()), lab.speech()
    fans = [Fan(name, agent, combiner, stream=name == "streamed") for name in ("streamed", "whole")]
    fans = fans[: lab.pick(2, 1)]
    async with lab.service(fans) as served:
        for fan in fans:
            await lab.warm_up(served, fan)
        return [await _line(lab, served, fan) for fan in fans]


async def _line(lab: Lab, served: Served, fan: Fan) -> Line:
    open_runs = lab.pick(50, 5)
    interval_s = fan.run_s / open_runs
    count = int(lab.pick(_WINDOW_S, 0.5) / interval_s) + open_runs
    meter = lab.meter(served)
    exchanges = await arrive(served.ask(fan), count=count, interval_s=interval_s)
    busy = meter.busy()
    ideal_s = fan.first_answer_s
    # The first arrivals meet an idle service: only what came to the full number counts.
    over = [each.first_token - each.sent - ideal_s for each in exchanges[open_runs:]]
    # Medians of slices in time: a neighbour's burst then spoils one slice, not the figure.
    size = max(1, len(over) // lab.pick(_SLICES, 1))
    slices = [over[start : start + size] for start in range(0, len(over) - size + 1, size)]
    p50 = median(median(each) for each in slices)
    p95 = median(percentile(each, 0.95) for each in slices)
    return Line(
        f"first answer token over the ideal, agents {fan.name}",
        f"p50 {p50 / ideal_s:+.2%}, p95 {p95 / ideal_s:+.2%}",
        f"p50 ≤ {_P50:.0%}, p95 ≤ {_P95:.0%}",
        f"{open_runs} runs open, {len(over)} measured in {len(slices)} slices; "
        f"ideal {ideal_s * 1000:.0f} ms, "
        f"p50 {p50 * 1000:+.1f} ms, p95 {p95 * 1000:+.1f} ms; {busy}",
        p50 <= _P50 * ideal_s and p95 <= _P95 * ideal_s,
    )
