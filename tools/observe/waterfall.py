"""Drawing of a trace as text: the tree of its spans with durations, bars and notes."""

from __future__ import annotations

from collections.abc import Iterator

from tools.observe.jaeger import Trace
from tools.observe.tree import Row, build_rows, format_duration, format_event, format_totals

_NAMES_SHARE, _BARS_SHARE = 0.35, 0.3  # maximum share of the width
_TIMES = 9
_COLOURS = {"error": "\x1b[31m", "cancelled": "\x1b[33m"}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def draw(trace: Trace, width: int, *, colour: bool) -> str:
    """Return the trace as lines of `width` columns; long notes may exceed the width."""
    tree = list(build_rows(trace))
    names = min(
        round(width * _NAMES_SHARE), max(len(row.branch + row.span.name) for row in tree) + 2
    )
    bars = max(20, round(width * _BARS_SHARE))
    lines = [f"Trace {trace.trace_id}", format_totals(trace), ""]
    for row in tree:
        lines.append(_draw_line(row, trace, names, bars, colour))
        lines.extend(_draw_events(row, names, bars, trace, colour))
    return "\n".join(lines)


def _draw_line(row: Row, trace: Trace, names: int, bars: int, colour: bool) -> str:
    name = _truncate(row.branch + row.span.name, names)
    bar = _draw_bar(row, trace, bars)
    notes = "  ".join(part for part in (row.verdict, row.note) if part)
    duration = format_duration(row.span.duration_us)
    text = f"{name:<{names}} {duration:>{_TIMES}} {bar} {notes}".rstrip()
    return _colourize(text, _COLOURS.get(row.mark, ""), colour)


def _draw_bar(row: Row, trace: Trace, bars: int) -> str:
    """Return the span's bar; the wait for its first chunk is paler."""
    per_us = bars / max(trace.duration_us, 1)
    first = min(bars - 1, int((row.span.start_us - trace.start_us) * per_us))
    length = max(1, min(bars - first, round(row.span.duration_us * per_us)))
    waiting = min(length, round(row.waiting_us * per_us))
    drawn = " " * first + "░" * waiting + "█" * (length - waiting)
    return f"▏{drawn:<{bars}}▕"


def _draw_events(row: Row, names: int, bars: int, trace: Trace, colour: bool) -> Iterator[str]:
    for event in sorted(row.span.events, key=lambda event: event.at_us):
        at = (event.at_us - trace.start_us) / max(trace.duration_us, 1)
        marker = " " * max(0, min(bars - 1, int(at * bars))) + "◆"
        since = format_duration(max(0, event.at_us - row.span.start_us))
        left = f"{_truncate(row.below, names):<{names}} {'+' + since:>{_TIMES}}"
        yield _colourize(f"{left} ▏{marker:<{bars}}▕ {format_event(event)}", _DIM, colour)


def _truncate(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def _colourize(text: str, tint: str, colour: bool) -> str:
    return f"{tint}{text}{_PLAIN}" if colour and tint else text
