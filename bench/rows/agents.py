"""Wall time and CPU of a run with 2 and with 16 agents.

The wall time should not change; the CPU should grow with the number of calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from bench.ensembles import BenchEnsemble
from bench.lab import Lab, Served
from bench.load import CpuShares, find_highest_shares, send_evenly
from bench.table import Line

_FEW, _MANY = 2, 16
_WALL, _CPU = 1.05, 1.10
_CALLS_OPEN = 32  # equal for both, so that coalescing is equal


@dataclass(frozen=True, slots=True)
class _Batch:
    wall_s: float
    cpu_per_agent_s: float
    busy: CpuShares


async def measure_agents(lab: Lab) -> list[Line]:
    """Ask both ensembles in turns, with the same number of parallel agents."""
    answer = lab.default_answer()
    ensembles = [
        BenchEnsemble(f"of-{number}", answer, answer, agents=number) for number in (_FEW, _MANY)
    ]
    few: list[_Batch] = []
    many: list[_Batch] = []
    async with lab.run_service(ensembles) as served:
        for ensemble in ensembles:
            await lab.warm_up(served, ensemble)
        for _ in range(lab.choose(3, 1)):
            for ensemble, batches in zip(ensembles, (few, many), strict=True):
                batches.append(await _batch(lab, served, ensemble))
    wall = median(b.wall_s / a.wall_s for a, b in zip(few, many, strict=True))
    cpu = median(b.cpu_per_agent_s / a.cpu_per_agent_s for a, b in zip(few, many, strict=True))
    spent = [median(each.cpu_per_agent_s * 1000 for each in batches) for batches in (few, many)]
    busy = find_highest_shares([each.busy for each in (*few, *many)])
    return [
        Line(f"wall time of a run, {_MANY} agents against {_FEW}", f"{wall:.3f} ×",
             f"≤ {_WALL} ×", f"{median(each.wall_s for each in few) * 1000:.0f} ms with {_FEW}; "
             f"ideal {ensembles[0].run_s * 1000:.0f} ms", wall <= _WALL),
        Line(f"CPU per agent, {_MANY} agents against {_FEW}", f"{cpu:.2f} ×", f"≤ {_CPU:.2f} ×",
             f"{spent[0]:.1f} and {spent[1]:.1f} ms an agent, run and combiner included; {busy}",
             cpu <= _CPU),
    ]  # fmt: skip


async def _batch(lab: Lab, served: Served, ensemble: BenchEnsemble) -> _Batch:
    """Measure complete runs, several rounds of those open at the same time."""
    at_once = max(1, lab.choose(_CALLS_OPEN, _MANY) // ensemble.agents)
    meter = lab.start_meter(served)
    requests = await send_evenly(
        served.build_question(ensemble),
        count=at_once * lab.choose(2, 1),
        interval_s=ensemble.run_s / at_once,
    )
    spent_s, busy = meter.server_cpu_s(), meter.read_shares()
    wall_s = median(each.ended - each.sent for each in requests)
    return _Batch(wall_s, spent_s / len(requests) / ensemble.agents, busy)
