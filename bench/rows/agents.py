"""From 2 to 16 agents: the wall time of a run stays, its CPU grows with the calls."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from bench.fans import Fan
from bench.lab import Lab, Served
from bench.load import Busy, arrive, busiest
from bench.table import Line

_FEW, _MANY = 2, 16
_WALL, _CPU = 1.05, 1.10
_CALLS_OPEN = 32  # the same in both, so that the service coalesces as much


@dataclass(frozen=True, slots=True)
class _Batch:
    wall_s: float
    cpu_per_agent_s: float
    busy: Busy


async def agents(lab: Lab) -> list[Line]:
    """Ask ensembles of both sizes in turns, with as many agents at work at once in each."""
    speech = lab.speech()
    fans = [Fan(f"of-{number}", speech, speech, agents=number) for number in (_FEW, _MANY)]
    few: list[_Batch] = []
    many: list[_Batch] = []
    async with lab.service(fans) as served:
        for fan in fans:
            await lab.warm_up(served, fan)
        for _ in range(lab.pick(3, 1)):
            for fan, batches in zip(fans, (few, many), strict=True):
                batches.append(await _batch(lab, served, fan))
    wall = median(b.wall_s / a.wall_s for a, b in zip(few, many, strict=True))
    cpu = median(b.cpu_per_agent_s / a.cpu_per_agent_s for a, b in zip(few, many, strict=True))
    spent = [median(each.cpu_per_agent_s * 1000 for each in batches) for batches in (few, many)]
    busy = busiest([each.busy for each in (*few, *many)])
    return [
        Line(f"wall time of a run, {_MANY} agents against {_FEW}", f"{wall:.3f} ×",
             f"≤ {_WALL} ×", f"{median(each.wall_s for each in few) * 1000:.0f} ms with {_FEW}; "
             f"ideal {fans[0].run_s * 1000:.0f} ms", wall <= _WALL),
        Line(f"CPU per agent, {_MANY} agents against {_FEW}", f"{cpu:.2f} ×", f"≤ {_CPU:.2f} ×",
             f"{spent[0]:.1f} and {spent[1]:.1f} ms an agent, run and combiner included; {busy}",
             cpu <= _CPU),
    ]  # fmt: skip


async def _batch(lab: Lab, served: Served, fan: Fan) -> _Batch:
    """Measure whole runs: those open at once, several times over."""
    at_once = max(1, lab.pick(_CALLS_OPEN, _MANY) // fan.agents)
    meter = lab.meter(served)
    exchanges = await arrive(
        served.ask(fan), count=at_once * lab.pick(2, 1), interval_s=fan.run_s / at_once
    )
    spent_s, busy = meter.server_cpu_s(), meter.busy()
    wall_s = median(each.ended - each.sent for each in exchanges)
    return _Batch(wall_s, spent_s / len(exchanges) / fan.agents, busy)
