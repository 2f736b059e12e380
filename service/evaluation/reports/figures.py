"""Numbers of a report as people read them."""

from __future__ import annotations

from service.evaluation.statistics.comparison import Difference
from service.evaluation.statistics.intervals import Interval
from service.evaluation.statistics.judge_biases import Share

UNKNOWN = "-"


def write_share(share: Share) -> str:
    """Return a count, its share and its interval: `29/40 72 % (57 to 84)`."""
    if share.value is None:
        return UNKNOWN
    low, high = (round(100 * limit) for limit in share.interval)
    return f"{share.count}/{share.total} {share.value:.0%} ({low} to {high})".replace("%", " %")


def write_difference(difference: Difference) -> str:
    """Return a difference in percentage points with its interval: `+12 (+3 to +21)`."""
    return f"{100 * difference.value:+.0f} ({_write_interval(difference.interval)})"


def _write_interval(interval: Interval) -> str:
    return f"{100 * interval.low:+.0f} to {100 * interval.high:+.0f}"


def write_p(p: float) -> str:
    """Return a p-value."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def write_usd(usd: float | None) -> str:
    """Return an amount of money with three digits that matter."""
    if usd is None:
        return UNKNOWN
    return "$0" if usd == 0 else f"${usd:.3g}" if usd >= 0.0001 else f"${usd:.1e}"


def write_count(value: float) -> str:
    """Return a mean number of tokens."""
    return f"{value:,.0f}"


def write_seconds(milliseconds: float | None) -> str:
    """Return a time in seconds."""
    return UNKNOWN if milliseconds is None else f"{milliseconds / 1000:.2f} s"
