"""Answer tokens relayed per CPU-second of the server, against the bare floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from bench.fans import GAP_MS, Fan, Speech
from bench.lab import Lab
from bench.load import Load, Window, busiest
from bench.table import Line, thousands

_STREAMED, _AIM, _GO_WHOLE = 0.25, 0.35, 0.7
_STREAMS = 50


async def throughput(lab: Lab) -> list[Line]:
    """At the pace of a model, 5 ms a token, 50 streams open all the time."""
    paced = lab.speech()
    floor, streamed, whole = await _windows(lab, paced, lab.pick(2.5, 0.3))
    return [
        _floor_line(lab, f"floor: bare generator, {GAP_MS} ms an event", floor),
        _line(lab, "answer tokens per CPU-second, agents streamed", streamed, floor,
              f"≥ {_STREAMED} × floor, aim {_AIM}", _STREAMED),
        _line(lab, "answer tokens per CPU-second, agents whole", whole, floor,
              f"{_GO_WHOLE} × floor (Go original)", _GO_WHOLE),
    ]  # fmt: skip


async def back_to_back(lab: Lab) -> list[Line]:
    """Without any gap between tokens, so that the server is never idle."""
    at_once = lab.speech(gap_ms=0)
    floor, streamed, whole = await _windows(lab, at_once, lab.pick(1.5, 0.3))
    return [
        _floor_line(lab, "second floor: bare generator, back to back", floor),
        _line(lab, "the same from a back-to-back upstream, agents streamed", streamed, floor),
        _line(lab, "the same from a back-to-back upstream, agents whole", whole, floor),
    ]


async def _windows(
    lab: Lab, speech: Speech, seconds: float
) -> tuple[list[Window], list[Window], list[Window]]:
    """Return windows of the floor and of the service, streamed and whole, taken in turns."""
    fans = [Fan("streamed", speech, speech), Fan("whole", speech, speech, stream=False)]
    taken: tuple[list[Window], list[Window], list[Window]] = ([], [], [])
    async with lab.service(fans) as served:
        for fan in fans:
            await lab.warm_up(served, fan)
        loads: list[Callable[[], Load]] = [
            lambda: lab.floor_load(speech.tokens, speech.gap_ms),
            lambda: lab.load(served, fans[0]),
            lambda: lab.load(served, fans[1]),
        ]
        for _ in range(lab.pick(3, 1)):
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
    busy = busiest([window.busy for window in windows])
    return f"{thousands(rate)} per CPU-second, {_streams(lab)} streams open; {busy}"


def _streams(lab: Lab) -> int:
    return lab.pick(_STREAMS, 5)
