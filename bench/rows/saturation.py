"""The number of parallel runs at which the answers' tokens fall behind their pace."""

from __future__ import annotations

from bench.ensembles import BenchEnsemble
from bench.lab import Lab, Served
from bench.load import HELD_GAP_S, Load, Window
from bench.table import Line, format_thousands

_STEPS = (25, 50, 75, 100, 150, 200, 250, 300, 400)
_GO = 0.7
_TRIES, _OTHERS = 5, 0.3


async def measure_saturation(lab: Lab) -> list[Line]:
    """Increase the parallel runs until the p95 of the token gaps is beyond `HELD_GAP_S`."""
    answer = lab.default_answer()
    ensembles = [
        BenchEnsemble("streamed", answer, answer),
        BenchEnsemble("whole", answer, answer, stream=False),
    ]
    async with lab.run_service(ensembles) as served:
        async with lab.create_floor_load(answer.tokens) as load:
            await load.raise_to(lab.choose(50, 5))
            floor = await load.measure(lab.choose(2.5, 0.3))
        return [
            await _line(lab, served, ensemble, floor) for ensemble in ensembles[: lab.choose(2, 1)]
        ]


async def _line(lab: Lab, served: Served, ensemble: BenchEnsemble, floor: Window) -> Line:
    await lab.warm_up(served, ensemble)
    async with lab.create_load(served, ensemble) as load:
        held, broke = await _climb(lab, load)
    at = held or broke
    assert at is not None
    count, window = at
    rate = window.tokens_per_cpu_s
    target = f"{_GO} × floor (Go original)" if not ensemble.stream else ""
    ratio = rate / floor.tokens_per_cpu_s
    return Line(
        f"saturation, agents {ensemble.name}",
        f"{count if held else f'under {count}'} runs at once, {ratio:.2f} × floor",
        target,
        f"{format_thousands(rate)} answer tokens per CPU-second, {_describe_step(held)}; "
        f"next {_describe_step(broke)}; floor {format_thousands(floor.tokens_per_cpu_s)}",
        ratio >= _GO if target else None,
    )


_Step = tuple[int, Window] | None


async def _climb(lab: Lab, load: Load) -> tuple[_Step, _Step]:
    """Return the last step that held the pace and the first one that did not."""
    held: _Step = None
    for count in lab.choose(_STEPS, (5,)):
        await load.raise_to(count)
        window = await _best(lab, load)
        if window.gap_s(0.95) > HELD_GAP_S:
            return held, (count, window)
        held = count, window
    return held, None


async def _best(lab: Lab, load: Load) -> Window:
    """Return the first window that held the pace, or the best of several.

    More windows are measured while other processes use the machine, since they may be the cause.
    """
    windows: list[Window] = []
    while len(windows) < lab.choose(_TRIES, 1):
        windows.append(await load.measure(lab.choose(2.5, 0.3)))
        quiet = windows[-1].busy.others < _OTHERS
        if windows[-1].gap_s(0.95) <= HELD_GAP_S or (quiet and len(windows) > 1):
            break
    return min(windows, key=lambda each: each.gap_s(0.95))


def _describe_step(step: _Step) -> str:
    if step is None:
        return "no step"
    count, window = step
    return f"{count} at p95 {window.gap_s(0.95) * 1000:.1f} ms ({window.busy})"
