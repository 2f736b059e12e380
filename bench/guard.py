"""A quick check that CPU per run has not grown in relation to the floor: `python -m bench --guard`.

The figures are the lowest of several short batches in turns, of the service and of the floor each:
other work on the machine only adds to a batch. A result above the limit is measured again until the
time is used up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from bench.batches import Plan, run_in_turns
from bench.lab import Lab
from bench.rows.run import make_ensembles

RECORD = Path(__file__).with_name("guard.json")

_MARGIN = 1.25
_COUNT, _INTERVAL_S = 25, 0.04
_TURNS, _MAX_TURNS = 3, 5
_LAST_TURN_STARTS_S = 46.0  # a turn takes ten seconds; the guard at most a minute


async def run_guard(lab: Lab, *, is_recording: bool) -> int:
    """Measure, print and return 0, or 1 if a ratio is 25 % above the recorded one.

    With `is_recording` store the ratios as those to compare with, and return 0.
    """
    started = perf_counter()
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    ratios = await _measure(lab, {} if is_recording else recorded, started)
    if is_recording:
        RECORD.write_text(json.dumps(ratios, indent=2) + "\n")
        print(f"Recorded in {RECORD.name}: {ratios}")
        return 0
    if missing := ratios.keys() - recorded.keys():
        print(f"No recorded ratio: {', '.join(sorted(missing))}; --record stores it.")
        return 1
    for name, ratio in ratios.items():
        limit = recorded[name] * _MARGIN
        print(f"CPU per run, agents {name}: {ratio} times the floor's; limit {limit:.2f}")
    print(f"{perf_counter() - started:.0f} s", file=sys.stderr)
    return int(_is_above(ratios, recorded))


async def _measure(lab: Lab, recorded: Mapping[str, float], started: float) -> dict[str, float]:
    """Return the ratio of each ensemble's lowest CPU per run to the floor's lowest."""
    ensembles = make_ensembles(lab)
    answer = ensembles[0].agent
    plan = Plan(1, lab.choose(_COUNT, 4), _INTERVAL_S, answer.tokens, answer.gap_ms)
    lowest: dict[str, float] = {}
    ratios: dict[str, float] = {}
    async with lab.run_service(ensembles) as served:
        for ensemble in ensembles:
            await lab.warm_up(served, ensemble)
        for turn in range(lab.choose(_MAX_TURNS, 1)):
            for series in await run_in_turns(lab, served, ensembles, plan):
                lowest[series.name] = min(series.cpu_ms, lowest.get(series.name, series.cpu_ms))
            ratios = {
                each.name: round(lowest[each.name] / lowest["floor"], 2) for each in ensembles
            }
            if perf_counter() - started > _LAST_TURN_STARTS_S:
                break
            if turn + 1 >= _TURNS and recorded and not _is_above(ratios, recorded):
                break
    return ratios


def _is_above(ratios: Mapping[str, float], recorded: Mapping[str, float]) -> bool:
    return any(ratio > recorded.get(name, 0.0) * _MARGIN for name, ratio in ratios.items())
