"""Amounts per period, such as `60/minute`, and the periods of the UTC calendar. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, get_args

Period = Literal["second", "minute", "hour", "day", "week", "month"]
PERIODS: Final = get_args(Period)

NANO_PER_USD: Final = 1_000_000_000
# Redis' scripts calculate with doubles, which are exact up to 2^53.
_MAX_COUNT: Final = 10**15

_FORM = re.compile(r"([0-9]{1,15})/([a-z]+)")
_MONEY_FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)/([a-z]+)")

PERIOD_S: Final[dict[Period, int]] = {
    "second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800,
    "month": 2_592_000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Amount:
    """`count` per period of the UTC calendar: requests, tokens, or billionths of a US dollar."""

    count: int
    period: Period


def parse_amount(text: object) -> Amount:
    """Return the amount of text such as `60/minute`. Raises ValueError with the expected form."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if not found or found[2] not in PERIODS:
        raise ValueError(_describe_form("60/minute", "a whole number"))
    return _amount(int(found[1]), found[2])


def parse_money(text: object) -> Amount:
    """Return the amount of text such as `4.50/month`, in billionths of a US dollar.

    Raises ValueError with the expected form.
    """
    found = _MONEY_FORM.fullmatch(text) if isinstance(text, str) else None
    if not found or found[2] not in PERIODS:
        raise ValueError(_describe_form("4.50/month", "US dollars"))
    return _amount(int(Decimal(found[1]) * NANO_PER_USD), found[2])


def start_of_period(period: Period, at: datetime) -> datetime:
    """Return the start of the period that contains `at`, in UTC.

    Days start at midnight, weeks on Monday, months on the first day.
    """
    at = at.astimezone(UTC)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "month":
        return day.replace(day=1)
    if period == "week":
        return day - timedelta(days=day.weekday())
    length_s = PERIOD_S[period]
    return day + timedelta(seconds=(at - day).seconds // length_s * length_s)


def end_of_period(period: Period, at: datetime) -> datetime:
    """Return the end of the period that contains `at`, in UTC; the next one starts then."""
    start = start_of_period(period, at)
    if period == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + timedelta(seconds=PERIOD_S[period])


def _amount(count: int, period: str) -> Amount:
    if count == 0:
        raise ValueError("must be greater than zero")
    if count > _MAX_COUNT:
        raise ValueError("is too large")
    return Amount(count, next(each for each in PERIODS if each == period))


def _describe_form(example: str, number: str) -> str:
    return f"must look like {example!r}: {number}, a slash and one of {', '.join(PERIODS)}"
