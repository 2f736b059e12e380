"""The plots of usage and the limits of a visitor in words."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from service.api.limits.shown import LimitShown
from service.pages.accounts.limits import describe_limit
from service.pages.usage.plot import HEIGHT, plot_days
from service.pages.words import format_cost

_DAYS = [date(2026, 11, 1) + timedelta(days=each) for each in range(30)]


def test_bars_are_as_high_as_their_part_of_the_highest() -> None:
    values = {_DAYS[0]: 1.0, _DAYS[10]: 4.0, _DAYS[29]: 0.000_001, _DAYS[3]: 0.0}
    plot = plot_days("Cost by day", values, _DAYS, format_cost)
    assert [bar.height for bar in plot.bars] == [HEIGHT / 4, HEIGHT, 1.0]  # never invisible
    assert all(bar.y + bar.height == HEIGHT for bar in plot.bars)
    assert [int(bar.x) for bar in plot.bars] == [0, 10, 29]
    assert plot.bars[1].label == "2026-11-11: $4.00"
    assert "from 2026-11-01 to 2026-11-30: $5.00 in total" in plot.summary
    assert "the most on 2026-11-11: $4.00" in plot.summary


def test_a_plot_without_usage_has_no_bars() -> None:
    plot = plot_days("Cost by day", {}, _DAYS, format_cost)
    assert (plot.bars, plot.top) == ([], "$0")
    assert plot.summary == "Cost by day from 2026-11-01 to 2026-11-30: $0 in total."


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (
            LimitShown(rule="all", kind="requests", limit=60, remaining=57, period="minute"),
            ("60 requests per minute", "rule all", "57 of 60", 0.95),
        ),
        (
            LimitShown(
                rule="default", kind="requests", limit=1, remaining=3, period="second", burst=3
            ),
            ("1 request per second, at most 3 at once", "default of the service", "3 of 3", 1.0),
        ),
        (
            LimitShown(rule="user", kind="streams", limit=10, remaining=10, period=None),
            ("10 open streams", "set for this user", "10 of 10", 1.0),
        ),
        (
            LimitShown(rule="key", kind="cost_usd", limit=5.0, remaining=-0.1, period="month"),
            ("$5.00 per month", "set for this key", "$0 of $5.00", 0.0),
        ),
    ],
)
def test_a_limit_is_stated_with_what_remains(
    limit: LimitShown, words: tuple[str, str, str, float]
) -> None:
    shown = describe_limit(limit)
    assert (shown.allowance, shown.rule, shown.remaining, shown.share) == words
    assert shown.reset_at is None
