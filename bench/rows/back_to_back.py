"""Answer tokens per CPU-second of the server without gaps between them, relative to the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from bench.ensembles import BenchEnsemble, MockAnswer
from bench.lab import Lab
from bench.load import Load, Window, find_highest_shares
from bench.table import Line, format_thousands

_STREAMS = 50


async def measure_back_to_back(lab: Lab) -> list[Line]:
    """Measure streams without gaps between tokens, so that the server is never idle."""
    at_once = lab.default_answer(gap_ms=0)
    floor, streamed, whole = await _windows(lab, at_once, lab.choose(1.5, 0.3))
    return [
        Line("second floor: bare generator, back to back", "1", "", _note(lab, floor)),
        _line(lab, "streamed", streamed, floor),
        _line(lab, "whole", whole, floor),
    ]


async def _windows(
    lab: Lab, answer: MockAnswer, seconds: float
) -> tuple[list[Window], list[Window], list[Window]]:
    """Return windows of the floor and of the service, streamed and whole, measured in turns."""
    ensembles = [
        BenchEnsemble("streamed", answer, answer),
        BenchEnsemble("whole", answer, answer, stream=False),
    ]
    taken: tuple[list[Window], list[Window], list[Window]] = ([], [], [])
    async with lab.run_service(ensembles) as served:
        for ensemble in ensembles:
            await lab.warm_up(served, ensemble)
        loads: list[Callable[[], Load]] = [
            lambda: lab.create_floor_load(answer.tokens, answer.gap_ms),
            lambda: lab.create_load(served, ensembles[0]),
            lambda: lab.create_load(served, ensembles[1]),
        ]
        for _ in range(lab.choose(3, 1)):
            for make, windows in zip(loads, taken, strict=True):
                async with make() as load:
                    await load.raise_to(_streams(lab))
                    windows.append(await load.measure(seconds))
    return taken


def _line(lab: Lab, agents: str, windows: Sequence[Window], floor: Sequence[Window]) -> Line:
    pairs = zip(windows, floor, strict=True)
    ratios = [window.tokens_per_cpu_s / bare.tokens_per_cpu_s for window, bare in pairs]
    return Line(
        f"answer tokens per CPU-second from a back-to-back upstream, agents {agents}",
        f"{median(ratios):.2f} × floor",
        "",
        f"{min(ratios):.2f} to {max(ratios):.2f}; {_note(lab, windows)}",
    )


def _note(lab: Lab, windows: Sequence[Window]) -> str:
    rate = median(window.tokens_per_cpu_s for window in windows)
    busy = find_highest_shares([window.busy for window in windows])
    return f"{format_thousands(rate)} per CPU-second, {_streams(lab)} streams open; {busy}"


def _streams(lab: Lab) -> int:
    return lab.choose(_STREAMS, 5)
