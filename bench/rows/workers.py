"""Tokens per second with 1, 2 and 4 worker processes, at the highest load that holds the pace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bench.ensembles import BenchEnsemble
from bench.lab import SERVICE, Lab, Served
from bench.load import HELD_GAP_S, Window
from bench.rows.run import make_ensembles
from bench.table import Line, format_thousands

_WORKERS = (1, 2, 4)
_LINEAR = 0.9
_FIRST, _GROWTH = 50, 1.5  # open runs of the first step, for each worker
_HALVINGS = 3  # of the last step, so that it is exact within a tenth
_TRIES, _OTHERS = 3, 0.3


@dataclass(frozen=True, slots=True)
class _Peak:
    """The highest number of open runs that held the pace, 0 for none, and its window."""

    streams: int
    window: Window

    @property
    def tokens_per_s(self) -> float:
        return self.window.tally.tokens / self.window.seconds


async def measure_workers(lab: Lab) -> list[Line]:
    """Raise the open runs until the p95 of the token gaps is beyond `HELD_GAP_S`."""
    ensemble = make_ensembles(lab)[0]
    peaks: dict[int, _Peak] = {}
    for workers in lab.choose(_WORKERS, (2,)):
        program = [*SERVICE[:-1], str(workers)]
        async with lab.run_service([ensemble], program=program) as served:
            await lab.warm_up(served, ensemble)
            peaks[workers] = await _find_peak(lab, served, ensemble, workers)
    return [_line(lab, workers, peak, peaks) for workers, peak in peaks.items()]


async def _find_peak(lab: Lab, served: Served, ensemble: BenchEnsemble, workers: int) -> _Peak:
    """Search upwards in steps, then between the last that held the pace and the next one."""
    low = _Peak(0, await _measure(lab, served, ensemble, 1))
    high, streams = 0, lab.choose(_FIRST * workers, 4)
    while not high and streams < lab.choose(10_000, 8):
        low, high = await _try(lab, served, ensemble, streams, low)
        streams = int(streams * _GROWTH)
    for _ in range(lab.choose(_HALVINGS, 0) if high else 0):
        low, failed = await _try(lab, served, ensemble, (low.streams + high) // 2, low)
        high = failed or high
    return low


async def _try(
    lab: Lab, served: Served, ensemble: BenchEnsemble, streams: int, low: _Peak
) -> tuple[_Peak, int]:
    """Return the new highest load that held the pace, and `streams` if it did not, else 0."""
    window = await _measure(lab, served, ensemble, streams)
    return (_Peak(streams, window), 0) if window.gap_s(0.95) <= HELD_GAP_S else (low, streams)


async def _measure(lab: Lab, served: Served, ensemble: BenchEnsemble, streams: int) -> Window:
    """Return the first window that held the pace, or the last: other work may be the cause."""
    async with lab.create_load(served, ensemble) as load:
        await load.raise_to(streams)
        for _ in range(lab.choose(_TRIES, 1)):
            window = await load.measure(lab.choose(2.5, 0.3))
            if window.gap_s(0.95) <= HELD_GAP_S or window.busy.others < _OTHERS:
                break
    return window


def _line(lab: Lab, workers: int, peak: _Peak, peaks: dict[int, _Peak]) -> Line:
    one = peaks.get(1)
    ratio = peak.tokens_per_s / one.tokens_per_s / workers if one else 1.0
    cores = len(os.sched_getaffinity(0))
    # The upstream and the load need a core too.
    has_cores = workers < cores
    note = f"p95 of the gaps {peak.window.gap_s(0.95) * 1000:.1f} ms; {peak.window.busy}"
    if not has_cores:
        note += f"; no verdict: {workers} workers, the upstream and the load share {cores} cores"
    has_target = workers > 1 and has_cores and not lab.quick
    return Line(
        f"answer tokens per second, {workers} workers, p95 of the gaps ≤ {HELD_GAP_S * 1000:g} ms",
        f"{format_thousands(peak.tokens_per_s)}, {ratio:.2f} × one worker's, per worker",
        f"≥ {_LINEAR} ×" if has_target else "",
        f"{peak.streams} runs open; {note}",
        ratio >= _LINEAR if has_target else None,
    )
