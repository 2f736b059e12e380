"""Figures as people read them: money, counts, times. The filters of the templates. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final


def format_usd(usd: float | None) -> str:
    """Return an amount such as $0.0042, with two significant digits below a cent."""
    if usd is None:
        return "unknown"
    if 0 < abs(usd) < 0.000_001:
        return "under $0.000001"
    places = 2 if usd == 0 or abs(usd) >= 1 else 4 if abs(usd) >= 0.001 else 6
    return f"${usd:,.{places}f}"


def format_count(number: float) -> str:
    """Return a number with a comma for each thousand, and without a fraction of zeros."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"


def format_short_count(number: float) -> str:
    """Return a number for the axis of a plot: 950, 1.2k, 34k, 5.6M."""
    for unit, suffix in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            scaled = number / unit
            return f"{scaled:.0f}{suffix}" if scaled >= 10 else f"{scaled:.1f}{suffix}"
    return f"{number:.0f}"


def format_moment(moment: datetime | None) -> str:
    """Return a time to the minute, in UTC; "never" for None."""
    return f"{_in_utc(moment):%Y-%m-%d %H:%M} UTC" if moment else "never"


def format_iso(moment: datetime) -> str:
    """Return a time for the attribute `datetime` of an HTML element."""
    return _in_utc(moment).isoformat(timespec="seconds")


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


FILTERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "usd": format_usd,
    "count": format_count,
    "short_count": format_short_count,
    "moment": format_moment,
    "iso": format_iso,
}
