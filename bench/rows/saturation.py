"""How many runs at once until the answers' tokens no longer come at their pace."""

from __future__ import annotations

from bench.fans import GAP_MS, Fan
from bench.lab import Lab, Served
from bench.load import Load, Window
from bench.table import Line, thousands

_STEPS = (25, 50, 75, 100, 150, 200, 250, 300, 400)
_LIMIT_S = 2 * GAP_MS / 1000
_GO = 0.7
_TRIES, _OTHERS = 5, 0.3


async def saturation(lab: Lab) -> list[Line]:
    """Raise the runs at once until the p95 of the token gaps is twice their pace."""
    speech = lab.speech()
    fans = [Fan("streamed", speech, speech), Fan("whole", speech, speech, stream=False)]
    async with lab.service(fans) as served:
        async with lab.floor_load(speech.tokens) as load:
            await load.raise_to(lab.pick(50, 5))
            floor = await load.measure(lab.pick(2.5, 0.3))
        return [await _line(lab, served, fan, floor) for fan in fans[: lab.pick(2, 1)]]


async def _line(lab: Lab, served: Served, fan: Fan, floor: Window) -> Line:
    await lab.warm_up(served, fan)
    async with lab.load(served, fan) as load:
        held, broke = await _climb(lab, load)
    at = held or broke
    assert at is not None
    count, window = at
    rate = window.tokens_per_cpu_s
    target = f"{_GO} × floor (Go original)" if not fan.stream else ""
    ratio = rate / floor.tokens_per_cpu_s
    return Line(
        f"saturation, agents {fan.name}",
        f"{count if held else f'under {count}'} runs at once, {ratio:.2f} × floor",
        target,
        f"{thousands(rate)} answer tokens per CPU-second, {_said(held)}; "
        f"next {_said(broke)}; floor {thousands(floor.tokens_per_cpu_s)}",
        ratio >= _GO if target else None,
    )


_Step = tuple[int, Window] | None


async def _climb(lab: Lab, load: Load) -> tuple[_Step, _Step]:
    """Return the last step that held its pace and the first that did not."""
    held: _Step = None
    for count in lab.pick(_STEPS, (5,)):
        await load.raise_to(count)
        window = await _best(lab, load)
        if window.gap_s(0.95) > _LIMIT_S:
            return held, (count, window)
        held = count, window
    return held, None


async def _best(lab: Lab, load: Load) -> Window:
    """Return the first window that held its pace, or the best of some.

    There are more while others are busy on the machine: then it may be their doing.
    """
    windows: list[Window] = []
    while len(windows) < lab.pick(_TRIES, 1):
        windows.append(await load.measure(lab.pick(2.5, 0.3)))
        quiet = windows[-1].busy.others < _OTHERS
        if windows[-1].gap_s(0.95) <= _LIMIT_S or (quiet and len(windows) > 1):
            break
    return min(windows, key=lambda each: each.gap_s(0.95))


def _said(step: _Step) -> str:
    if step is None:
        return "no step"
    count, window = step
    return f"{count} at p95 {window.gap_s(0.95) * 1000:.1f} ms ({window.busy})"
