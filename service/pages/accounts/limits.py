"""The limits of a visitor in words. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.api.limits.shown import LimitShown
from service.pages.words import format_cost, format_count

_KINDS: Final[Mapping[str, str]] = {
    "requests": "request",
    "streams": "open stream",
    "tokens": "token",
}
_OWNERS: Final[Mapping[str, str]] = {
    "user": "set for this user",
    "key": "set for this key",
    "default": "default of the service",
}


@dataclass(frozen=True, slots=True)
class ShownLimit:
    """A limit, such as `60 requests per minute`. `share` is the remaining part, 0 to 1."""

    allowance: str
    rule: str
    remaining: str
    share: float
    reset_at: datetime | None


def describe_limit(limit: LimitShown) -> ShownLimit:
    """Return a limit of `/api/me` in words."""
    is_cost = limit["kind"] == "cost_usd"
    write = format_cost if is_cost else format_count
    ending = "" if limit["limit"] == 1 else "s"
    unit = "" if is_cost else f" {_KINDS[limit['kind']]}{ending}"
    period = f" per {limit['period']}" if limit["period"] else ""
    burst = f", at most {limit['burst']} at once" if "burst" in limit else ""
    whole = float(limit.get("burst", limit["limit"]))
    remaining = max(0.0, limit["remaining"])
    return ShownLimit(
        allowance=f"{write(limit['limit'])}{unit}{period}{burst}",
        rule=_OWNERS.get(limit["rule"], f"rule {limit['rule']}"),
        remaining=f"{write(remaining)} of {write(whole)}",
        share=round(min(1.0, remaining / whole), 3) if whole else 0.0,
        reset_at=datetime.fromisoformat(limit["reset_at"]) if "reset_at" in limit else None,
    )
