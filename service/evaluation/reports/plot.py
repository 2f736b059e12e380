"""A plot of right answers, with their intervals, against cost, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.evaluation.reports.figures import write_count, write_share, write_usd
from service.evaluation.reports.plain_text import escape_xml, flatten
from service.evaluation.reports.standings import Standing, make_standings
from service.evaluation.results import ContestantKind, Evaluation

_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 30, 420, 300
_LEGEND_LEFT, _LINE_HEIGHT = _LEFT + _WIDTH + 30, 18
_NAME_CHARS = 40
_COLOURS: dict[ContestantKind, str] = {
    "ensemble": "#0b6e4f",
    "equal_cost": "#b35c00",
    "member": "#4a5a8a",
}


class _Point(NamedTuple):
    number: int
    standing: Standing
    x: float
    y: float
    low: float
    high: float


def write_svg(evaluation: Evaluation) -> str:
    """Return the plot. Costs are in tokens unless those of all contestants are known in dollars."""
    standings = [each for each in make_standings(evaluation) if each.right.total]
    has_usd = all(each.mean_cost_usd is not None for each in standings)
    points = _place(standings, has_usd)
    height = _TOP + max(_HEIGHT, len(points) * _LINE_HEIGHT) + 60
    width = _LEGEND_LEFT + 470
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        "<title>Right answers against cost, with 95 % intervals</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_draw_axes(standings, has_usd),
    ]
    if not points:
        lines.append(_write(_LEFT + 20, _TOP + 40, "No question has a grade."))
    for point in points:
        lines += _draw_point(point)
        lines += _draw_legend(point, has_usd)
    return "\n".join([*lines, "</svg>", ""])


def _get_cost(standing: Standing, has_usd: bool) -> float:
    usd = standing.mean_cost_usd
    return usd if has_usd and usd is not None else standing.mean_tokens


def _place(standings: Sequence[Standing], has_usd: bool) -> list[_Point]:
    most = max((_get_cost(each, has_usd) for each in standings), default=0.0) or 1.0
    return [
        _Point(
            number,
            each,
            _LEFT + _WIDTH * 0.95 * _get_cost(each, has_usd) / most,
            _to_y(each.right.value or 0.0),
            _to_y(each.right.interval.low),
            _to_y(each.right.interval.high),
        )
        for number, each in enumerate(standings, 1)
    ]


def _to_y(share: float) -> float:
    return _TOP + _HEIGHT * (1 - share)


def _draw_axes(standings: Sequence[Standing], has_usd: bool) -> Iterator[str]:
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    for percent in range(0, 101, 25):
        y = _to_y(percent / 100)
        yield f'<path d="M{_LEFT} {y:g}H{right}" stroke="#dddddd"/>'
        yield _write(_LEFT - 8, y + 4, f"{percent} %", anchor="end")
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#333333"/>'
    most = max((_get_cost(each, has_usd) for each in standings), default=0.0)
    unit = "cost" if has_usd else "tokens"
    label = write_usd(most) if has_usd else write_count(most)
    yield _write(_LEFT + _WIDTH * 0.95, bottom + 18, label, anchor="middle")
    yield _write(_LEFT, bottom + 18, "0", anchor="middle")
    yield _write(_LEFT + _WIDTH / 2, bottom + 38, f"{unit} per question", anchor="middle")
    yield _write(_LEFT, _TOP - 12, "right answers, with 95 % intervals")


def _draw_point(point: _Point) -> Iterator[str]:
    colour = _COLOURS[point.standing.contestant.kind]
    x = f"{point.x:.1f}"
    yield f'<path d="M{x} {point.high:.1f}V{point.low:.1f}" stroke="{colour}" stroke-width="2"/>'
    yield f'<circle cx="{x}" cy="{point.y:.1f}" r="5" fill="{colour}"/>'
    yield _write(point.x + 8, point.y - 6, str(point.number), colour=colour)


def _draw_legend(point: _Point, has_usd: bool) -> Iterator[str]:
    standing = point.standing
    name = flatten(standing.contestant.name, _NAME_CHARS)
    cost = (
        write_usd(standing.mean_cost_usd)
        if has_usd
        else f"{write_count(standing.mean_tokens)} tokens"
    )
    text = f"{point.number}  {name}: {write_share(standing.right)}, {cost}"
    y = _TOP + (point.number - 0.5) * _LINE_HEIGHT
    yield _write(_LEGEND_LEFT, y, text, colour=_COLOURS[standing.contestant.kind])


def _write(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#222222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape_xml(text)}</text>"
    )
