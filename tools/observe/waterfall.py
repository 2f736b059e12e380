"""A trace as a waterfall of text: tree, duration, bar, and what is worth saying."""

from __future__ import annotations

from collections.abc import Iterator

from tools.observe.jaeger import Trace
from tools.observe.tree import Row, duration, rows, said, totals

_NAMES_SHARE, _BARS_SHARE = 0.35, 0.3  # of the width, at most
_TIMES = 9
_COLOURS = {"error": "\x1b[31m", "cancelled": "\x1b[33m"}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def draw(trace: Trace, width: int, *, colour: bool) -> str:
    """Return the lines of a trace, for `width` columns; longer notes run over."""
    tree = list(rows(trace))
    names = min(
        round(width * _NAMES_SHARE), max(len(row.branch + row.span.name) for row in tree) + 2
    )
    bars = max(20, round(width * _BARS_SHARE))
    lines = [f"Trace {trace.trace_id}", totals(trace), ""]
    for row in tree:
        lines.append(_line(row, trace, names, bars, colour))
        lines.extend(_events(row, names, bars, trace, colour))
    return "\n".join(lines)


def _line(row: Row, trace: Trace, names: int, bars: int, colour: bool) -> str:
    name = _fitted(row.branch + row.span.name, names)
    bar = _bar(row, trace, bars)
    told = "  ".join(part for part in (row.verdict, row.note) if part)
    text = f"{name:<{names}} {duration(row.span.duration_us):>{_TIMES}} {bar} {told}".rstrip()
    return _tinted(text, _COLOURS.get(row.mark, ""), colour)


def _bar(row: Row, trace: Trace, bars: int) -> str:
    """Return where in the trace the span lies; the wait for its first chunk is paler."""
    per_us = bars / max(trace.duration_us, 1)
    first = min(bars - 1, int((row.span.start_us - trace.start_us) * per_us))
    length = max(1, min(bars - first, round(row.span.duration_us * per_us)))
    waiting = min(length, round(row.waiting_us * per_us))
    drawn = " " * first + "░" * waiting + "█" * (length - waiting)
    return f"▏{drawn:<{bars}}▕"


def _events(row: Row, names: int, bars: int, trace: Trace, colour: bool) -> Iterator[str]:
    for event in sorted(row.span.events, key=lambda event: event.at_us):
        at = (event.at_us - trace.start_us) / max(trace.duration_us, 1)
        place = " " * max(0, min(bars - 1, int(at * bars))) + "◆"
        since = duration(max(0, event.at_us - row.span.start_us))
        left = f"{_fitted(row.below, names):<{names}} {'+' + since:>{_TIMES}}"
        yield _tinted(f"{left} ▏{place:<{bars}}▕ {said(event)}", _DIM, colour)


def _fitted(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def _tinted(text: str, tint: str, colour: bool) -> str:
    return f"{tint}{text}{_PLAIN}" if colour and tint else text
