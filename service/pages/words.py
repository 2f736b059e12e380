"""Times, amounts of money and token counts as text, as `static/format.js` writes them too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from service.domain import Usage


def format_cost(usd: float | None) -> str:
    """Return an amount in US dollars, below a cent with two digits; "" for an unknown price."""
    if usd is None:
        return ""
    if usd == 0:
        return "$0"
    if usd < 0.01:
        return f"${usd:.{1 - math.floor(math.log10(usd))}f}"
    return f"${usd:.3f}" if usd < 1 else f"${usd:,.2f}"


def format_duration(ms: float | None) -> str:
    """Return a duration of `ms` milliseconds; "" for an unknown one."""
    if ms is None:
        return ""
    if ms < 1_000:
        return f"{round(ms)} ms"
    if ms < 60_000:
        return f"{ms / 1_000:.1f} s"
    minutes, seconds = divmod(round(ms / 1_000), 60)
    return f"{minutes} min {seconds} s"


def format_tokens(usage: Usage) -> str:
    """Return the number of tokens of an answer and its question."""
    count = usage.total_tokens
    shown = f"{count:,} token{'' if count == 1 else 's'}"
    return f"about {shown}" if usage.estimated else shown


def format_count(number: float) -> str:
    """Return a number with a comma for each thousand, and without a fraction of zeros."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"


def format_moment(moment: datetime | None) -> str:
    """Return a time to the minute, in UTC; "never" for None."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else "never"


def format_iso(moment: datetime) -> str:
    """Return a time for the attribute `datetime` of an HTML element."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


FILTERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "cost": format_cost,
    "count": format_count,
    "duration": format_duration,
    "iso": format_iso,
    "moment": format_moment,
}
"""The filters of the templates."""
