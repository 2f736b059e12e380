"""Periods start at UTC midnight, weeks on Monday and months on the first day."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from service.limits.amounts import Period, end_of_period, start_of_period


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("second", "2024-02-29T23:59:59+00:00", "2024-03-01T00:00:00+00:00"),
        ("minute", "2024-02-29T23:59:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("hour", "2024-02-29T23:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("day", "2024-02-29T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("week", "2024-02-26T00:00:00+00:00", "2024-03-04T00:00:00+00:00"),
        ("month", "2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("hours", [0, -11, 14])
def test_a_period_is_one_of_the_utc_calendar(
    period: Period, start: str, end: str, hours: int
) -> None:
    at = datetime.fromisoformat("2024-02-29T23:59:59.999999+00:00")
    at = at.astimezone(timezone(timedelta(hours=hours)))
    assert start_of_period(period, at).isoformat() == start
    assert end_of_period(period, at).isoformat() == end


def test_the_end_of_december_is_the_start_of_january() -> None:
    at = datetime.fromisoformat("2025-12-31T12:00:00+00:00")
    assert end_of_period("month", at).isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("period", ["second", "minute", "hour", "day", "week", "month"])
def test_the_end_of_a_period_is_the_start_of_the_next(period: Period) -> None:
    at = datetime.fromisoformat("2026-10-25T00:30:00+00:00")  # a change of summer time in Europe
    assert start_of_period(period, end_of_period(period, at)) == end_of_period(period, at)
