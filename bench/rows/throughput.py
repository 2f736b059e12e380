"""Answer tokens per CPU-second of the server, relative to the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from bench.ensembles import GAP_MS, BenchEnsemble, MockAnswer
from bench.lab import Lab
from bench.load import Load, Window, find_highest_shares
from bench.table import Line, format_thousands

_STREAMED, _AIM, _GO_WHOLE = 0.25, 0.35, 0.7
_STREAMS = 50


async def measure_throughput(lab: Lab) -> list[Line]:
    """Measure 50 open streams at the pace of a model, 5 ms a token."""
    paced = lab.default_answer()
    floor, streamed, whole = await _windows(lab, paced, lab.choose(2.5, 0.3))
    return [
        _floor_line(lab, f"floor: bare generator, {GAP_MS} ms an event", floor),
        _line(lab, "answer tokens per CPU-second, agents streamed", streamed, floor,
              f"≥ {_STREAMED} × floor, aim {_AIM}", _STREAMED),
        _line(lab, "answer tokens per CPU-second, agents whole", whole, floor,
              f"{_GO_WHOLE} × floor (Go original)", _GO_WHOLE),
    ]  # fmt: skip


async def measure_back_to_back(lab: Lab) -> list[Line]:
    """Measure streams without gaps between tokens, so that the server is never idle."""
    at_once = lab.default_answer(gap_ms=0)
    floor, streamed, whole = await _windows(lab, at_once, lab.choose(1.5, 0.3))
    return [
        _floor_line(lab, "second floor: bare generator, back to back", floor),
        _line(lab, "the same from a back-to-back upstream, agents streamed", streamed, floor),
        _line(lab, "the same from a back-to-back upstream, agents whole", whole, floor),
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


def _line(
    lab: Lab,
    what: str,
    windows: Sequence[Window],
    floor: Sequence[Window],
    target: str = "",
    least: float | None = None,
) -> Line:
    pairs = zip(windows, floor, strict=True)
    ratios = [window.tokens_per_cpu_s / bare.tokens_per_cpu_s for window, bare in pairs]
    ratio = median(ratios)
    return Line(
        what,
        f"{ratio:.2f} × floor",
        target,
        f"{min(ratios):.2f} to {max(ratios):.2f}; {_note(lab, windows)}",
        None if least is None else ratio >= least,
    )


def _floor_line(lab: Lab, what: str, windows: Sequence[Window]) -> Line:
    return Line(what, "1", "", _note(lab, windows))


def _note(lab: Lab, windows: Sequence[Window]) -> str:
    rate = median(window.tokens_per_cpu_s for window in windows)
    busy = find_highest_shares([window.busy for window in windows])
    return f"{format_thousands(rate)} per CPU-second, {_streams(lab)} streams open; {busy}"


def _streams(lab: Lab) -> int:
    return lab.choose(_STREAMS, 5)
