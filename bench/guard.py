"""A quick check that CPU per run has not grown in relation to the floor: `python -m bench --guard`.

The figures are the lowest of several short batches. The floor is measured at the same time as the
service, so that other work on the machine affects both. A result above the limit is measured again
until the time is used up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from bench.batches import run_batch
from bench.ensembles import BenchEnsemble
from bench.lab import Lab, Served
from bench.rows.run import make_ensembles

RECORD = Path(__file__).with_name("guard.json")  # in the repository

_MARGIN = 1.25
_COUNT, _INTERVAL_S = 25, 0.04
_TURNS, _MAX_TURNS = 3, 5
_LAST_TURN_STARTS_S = 48.0  # a turn takes eight seconds; the guard at most a minute


def read_record(file: Path) -> dict[str, float]:
    """Return the recorded ratios by the name of the ensemble; empty without a file."""
    recorded: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    return recorded


def write_record(file: Path, ratios: Mapping[str, float]) -> None:
    """Store the ratios as those to compare with, and print them."""
    rounded = {name: round(ratio, 2) for name, ratio in ratios.items()}
    file.write_text(json.dumps(rounded, indent=2) + "\n")
    print(f"Recorded in {file.name}: {rounded}")


def compare(ratios: Mapping[str, float], recorded: Mapping[str, float]) -> int:
    """Print the comparison and return 0, or 1 if a ratio is 25 % above the recorded one."""
    for name, ratio in ratios.items():
        limit = recorded.get(name, 0.0) * _MARGIN
        print(f"CPU per run, agents {name}: {ratio:.2f} times the floor's; limit {limit:.2f}")
    return int(_is_above(ratios, recorded))


async def measure_ratios(lab: Lab, recorded: Mapping[str, float]) -> dict[str, float]:
    """Return the ratio of each ensemble's lowest CPU per run to the floor's lowest."""
    started = perf_counter()
    ensembles = make_ensembles(lab)
    lowest_ms: dict[str, float] = {}
    async with lab.run_service(ensembles) as served:
        for ensemble in ensembles:
            await lab.warm_up(served, ensemble)
        for turn in range(lab.choose(_MAX_TURNS, 1)):
            for ensemble in ensembles:
                for name, cpu_ms in (await _measure_together(lab, served, ensemble)).items():
                    lowest_ms[name] = min(cpu_ms, lowest_ms.get(name, cpu_ms))
            ratios = {each.name: lowest_ms[each.name] / lowest_ms["floor"] for each in ensembles}
            if perf_counter() - started > _LAST_TURN_STARTS_S:
                break
            if turn + 1 >= _TURNS and recorded and not _is_above(ratios, recorded):
                break
    return ratios


async def _measure_together(lab: Lab, served: Served, ensemble: BenchEnsemble) -> dict[str, float]:
    """Return the CPU milliseconds of a run, and of a stream of the floor at the same time."""
    answer, count = ensemble.combiner, lab.choose(_COUNT, 4)
    bare_question = lab.build_floor_question(answer.tokens, answer.gap_ms)
    own, bare = await asyncio.gather(
        run_batch(lab, served, served.build_question(ensemble), count, _INTERVAL_S),
        # A run takes twice as long as a stream.
        run_batch(lab, lab.floor, bare_question, 2 * count, _INTERVAL_S),
    )
    return {ensemble.name: own.cpu_ms, "floor": bare.cpu_ms}


def _is_above(ratios: Mapping[str, float], recorded: Mapping[str, float]) -> bool:
    return any(ratio > recorded.get(name, 0.0) * _MARGIN for name, ratio in ratios.items())
