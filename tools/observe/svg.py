"""Drawing of a trace as one self-contained SVG, dark on light, for documents."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from tools.observe.jaeger import Trace
from tools.observe.tree import Row, build_rows, format_duration, format_event, format_totals

WIDTH = 1180
_NAMES, _BARS, _NOTES = 16, 330, 790  # x of each column; the notes extend to the right edge
_BAR_WIDTH = _NOTES - _BARS - 20
_TOP, _STEP, _INDENT = 86, 26, 16
_TICKS = 4
_INK, _PALE, _LINE, _PAPER = "#1c2430", "#5b6675", "#dfe3e8", "#ffffff"
_FILLS = {
    "error": "#c62f2f",
    "cancelled": "#a86a00",
    "SERVER": "#4a5a70",
    "invoke_workflow": "#2f5fb3",
    "invoke_agent": "#2a8a86",
    "chat": "#4c9a4c",
}
_OTHER = "#9aa5b1"
_LETTER = 7.9  # pixels, in the widest of the fonts
_LEGEND = "pale: until the first chunk   ◆ event"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def draw(trace: Trace) -> str:
    """Return the trace as SVG."""
    tree = list(build_rows(trace))
    lines = sum(1 + len(row.span.events) for row in tree)
    height = _TOP + lines * _STEP + 14
    body = "\n".join([*_draw_head(trace, height), *_draw_rows(tree, trace)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family="{_FONT}" font-size="13" fill="{_INK}">\n'
        f"<title>Trace {trace.trace_id}</title>\n{body}\n</svg>\n"
    )


def _draw_head(trace: Trace, height: int) -> Iterator[str]:
    yield f'<rect width="{WIDTH}" height="{height}" fill="{_PAPER}"/>'
    yield _draw_text(_NAMES, 28, f"Trace {trace.trace_id}", size=16, weight=600)
    yield _draw_text(_NAMES, 50, format_totals(trace), colour=_PALE)
    yield _draw_text(WIDTH - _NAMES, 50, _LEGEND, colour=_PALE, size=12, anchor="end")
    for tick in range(_TICKS + 1):
        x = _BARS + _BAR_WIDTH * tick / _TICKS
        at = format_duration(trace.duration_us * tick // _TICKS) if tick else "0"
        yield f'<path d="M{x:.1f} {_TOP - 12}V{height - 10}" stroke="{_LINE}"/>'
        yield _draw_text(x, _TOP - 18, at, colour=_PALE, size=11, anchor="middle")


def _draw_rows(tree: list[Row], trace: Trace) -> Iterator[str]:
    y = _TOP
    scale = _BAR_WIDTH / max(trace.duration_us, 1)
    for row in tree:
        baseline = y + 13
        left = _NAMES + row.depth * _INDENT
        weight = 600 if row.depth < 2 else 400
        yield _draw_text(left, baseline, _truncate(row.span.name, left), weight=weight)
        yield from _draw_bar(row, trace, scale, y)
        yield _draw_note(row, baseline)
        y += _STEP
        for event in sorted(row.span.events, key=lambda event: event.at_us):
            x = _BARS + (event.at_us - trace.start_us) * scale
            yield f'<path d="M{x:.1f} {y + 4}l5 5l-5 5l-5 -5z" fill="{_INK}"/>'
            yield _draw_text(_NOTES, y + 13, format_event(event), colour=_PALE, size=12)
            y += _STEP


def _draw_bar(row: Row, trace: Trace, scale: float, y: int) -> Iterator[str]:
    span = row.span
    x = _BARS + (span.start_us - trace.start_us) * scale
    width = max(2.0, span.duration_us * scale)
    waiting = min(width, row.waiting_us * scale)
    fill = _select_fill(row)
    yield _draw_rect(x, y, width, fill, 0.4 if waiting else 1)
    if waiting:  # the wait for the first chunk is paler
        yield _draw_rect(x + waiting, y, width - waiting, fill, 1)


def _select_fill(row: Row) -> str:
    kind = str(row.span.attributes.get("span.kind", "")).upper()
    operation = str(row.span.attributes.get("gen_ai.operation.name", ""))
    return next((_FILLS[key] for key in (row.mark, operation, kind) if key in _FILLS), _OTHER)


def _draw_note(row: Row, baseline: int) -> str:
    facts = [format_duration(row.span.duration_us), row.note]
    verdict = f'<tspan font-weight="600" fill="{_select_fill(row)}">{escape(row.verdict)}</tspan>  '
    text = escape("  ".join(part for part in facts if part))
    return (
        f'<text x="{_NOTES}" y="{baseline}" font-size="12" xml:space="preserve">'
        f"{verdict if row.verdict else ''}{text}</text>"
    )


def _draw_rect(x: float, y: int, width: float, fill: str, opacity: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="14" rx="2"'
        f' fill="{fill}" fill-opacity="{opacity}"/>'
    )


def _draw_text(
    x: float,
    y: int,
    text: str,
    *,
    size: int = 13,
    weight: int = 400,
    colour: str = _INK,
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}"'
        f' text-anchor="{anchor}">{escape(text)}</text>'
    )


def _truncate(name: str, left: int) -> str:
    columns = int((_BARS - 8 - left) / _LETTER)
    return name if len(name) <= columns else f"{name[: columns - 1]}…"
