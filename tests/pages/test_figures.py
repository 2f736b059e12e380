"""Money, counts and times as the pages show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.pages.figures import (
    format_count,
    format_iso,
    format_moment,
    format_short_count,
    format_usd,
)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0, "$0.00"), (None, "unknown"), (1234.5, "$1,234.50"), (0.25, "$0.2500"),
        (0.0042, "$0.0042"), (0.00042, "$0.000420"), (1e-9, "under $0.000001"),
    ],
)  # fmt: skip
def test_a_small_cost_is_not_shown_as_zero(usd: float | None, shown: str) -> None:
    assert format_usd(usd) == shown


@pytest.mark.parametrize(
    ("number", "shown", "short"),
    [
        (0, "0", "0"), (950, "950", "950"), (1_200, "1,200", "1.2k"), (34_000, "34,000", "34k"),
        (5_600_000, "5,600,000", "5.6M"), (2.5, "2.50", "2"),
    ],
)  # fmt: skip
def test_counts_have_commas_and_a_short_form(number: float, shown: str, short: str) -> None:
    assert (format_count(number), format_short_count(number)) == (shown, short)


def test_times_are_shown_in_utc() -> None:
    moment = datetime(2026, 11, 27, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert format_moment(moment) == "2026-11-26 23:30 UTC"
    assert format_iso(moment) == datetime(2026, 11, 26, 23, 30, tzinfo=UTC).isoformat()
    assert format_moment(None) == "never"
