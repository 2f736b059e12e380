"""Money, counts and times as the pages show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.pages.words import (
    format_cost,
    format_count,
    format_duration,
    format_iso,
    format_moment,
)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0, "$0"), (None, ""), (1234.5, "$1,234.50"), (0.25, "$0.250"), (0.0042, "$0.0042"),
        (0.000056, "$0.000056"), (1e-9, "$0.0000000010"),
    ],
)  # fmt: skip
def test_a_small_cost_is_shown_with_two_digits(usd: float | None, shown: str) -> None:
    assert format_cost(usd) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (950, "950"), (1_200, "1,200"), (5_600_000, "5,600,000"), (2.5, "2.50")],
)
def test_counts_have_a_comma_for_each_thousand(number: float, shown: str) -> None:
    assert format_count(number) == shown


@pytest.mark.parametrize(
    ("ms", "shown"), [(None, ""), (12.4, "12 ms"), (4_712, "4.7 s"), (125_000, "2 min 5 s")]
)
def test_durations_have_the_unit_that_suits_them(ms: float | None, shown: str) -> None:
    assert format_duration(ms) == shown


def test_times_are_shown_in_utc() -> None:
    moment = datetime(2026, 11, 27, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert format_moment(moment) == "2026-11-26 23:30 UTC"
    assert format_iso(moment) == datetime(2026, 11, 26, 23, 30, tzinfo=UTC).isoformat()
    assert format_moment(None) == "never"
