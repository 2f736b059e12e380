"""A bar plot of days: its geometry, which a template draws as SVG. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

HEIGHT: Final = 100.0
_GAP: Final = 0.15  # on each side of a bar, as a part of a day
_LEAST: Final = 1.0  # the height of a value that would be invisible beside a large one


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a plot; a day is one unit wide, and the highest bar has HEIGHT."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of one value by day. `top` is the highest value in words, `summary` all in words."""

    title: str
    days: Sequence[date]
    bars: Sequence[Bar]
    top: str
    summary: str


def plot_days(
    title: str, values: Mapping[date, float], days: Sequence[date], word: Callable[[float], str]
) -> Plot:
    """Return the plot of `values`; days without a value have no bar."""
    present = [(index, day, values[day]) for index, day in enumerate(days) if values.get(day)]
    highest = max((value for _, _, value in present), default=0.0)
    bars = [
        _make_bar(index, value / highest, f"{day}: {word(value)}") for index, day, value in present
    ]
    top_day = next((day for _, day, value in present if value == highest), None)
    most = f"; the most on {top_day}: {word(highest)}" if top_day else ""
    total = word(sum(value for _, _, value in present))
    summary = f"{title} from {days[0]} to {days[-1]}: {total} in total{most}."
    return Plot(title, days, bars, word(highest), summary)


def _make_bar(index: int, share: float, label: str) -> Bar:
    height = max(_LEAST, share * HEIGHT)
    return Bar(
        round(index + _GAP, 2), round(HEIGHT - height, 2), 1 - 2 * _GAP, round(height, 2), label
    )
