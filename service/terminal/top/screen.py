"""A picture of a service as a table for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.terminal.panels import format_cost
from service.terminal.safe_text import make_line
from service.terminal.top.picture import ServicePicture


def render_picture(
    picture: ServicePicture, url: str, *, max_rows: int | None = None
) -> RenderableType:
    """Return the tables; at most `max_rows` agents and ensembles each."""
    head = Text(f"{url} · {picture.status} · version {picture.version}")
    if picture.status != "ok":
        head.stylize("yellow")
    span = "since the start" if picture.span_s is None else f"in the last {picture.span_s:.0f} s"
    figures = Text(
        f"open runs {picture.open_runs} · open streams {picture.open_streams} · "
        f"failed runs {picture.errors_per_min:.1f}/min · "
        f"cost {format_cost(picture.cost_usd_per_min) or '$0'}/min ({span})"
    )
    circuits = Text(f"Not called: {make_line(', '.join(picture.open_circuits))}", "red")
    parts: list[RenderableType] = [head, figures]
    parts += [circuits] if picture.open_circuits else []
    return Group(*parts, "", _ensembles(picture, max_rows), "", _agents(picture, max_rows))


def _ensembles(picture: ServicePicture, max_rows: int | None) -> Table:
    table = _table("ensemble", "done/min", "failed/min", "first p50", "first p95")
    for row in picture.ensembles[:max_rows]:
        table.add_row(
            Text(make_line(row.ensemble)),
            f"{row.completed_per_min:.1f}",
            f"{row.failed_per_min:.1f}",
            _seconds(row.first_output_p50_s),
            _seconds(row.first_output_p95_s),
        )
    return table


def _agents(picture: ServicePicture, max_rows: int | None) -> Table:
    table = _table("agent", "done/min", "failed/min", "retries/min", "mean", "cost/min")
    for row in picture.agents[:max_rows]:
        table.add_row(
            Text(make_line(row.agent)),
            f"{row.answered_per_min:.1f}",
            Text(f"{row.failed_per_min:.1f}", "red" if row.failed_per_min else ""),
            f"{row.retries_per_min:.1f}",
            _seconds(row.mean_s),
            format_cost(row.cost_usd_per_min),
        )
    return table


def _table(name: str, *figures: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(name, no_wrap=True)
    for each in figures:
        table.add_column(each, justify="right", no_wrap=True)
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
