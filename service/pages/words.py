"""Times, amounts of money and token counts as text, as `static/format.js` writes them too."""

from __future__ import annotations

from service.domain import Usage


def format_cost(usd: float | None) -> str:
    """Return an amount in US dollars; "" for an unknown price."""
    if usd is None:
        return ""
    if usd == 0:
        return "$0"
    if usd < 0.01:
        return f"${usd:.2g}"
    return f"${usd:.3f}" if usd < 1 else f"${usd:.2f}"


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
