"""Rate limits in the headers of model servers' responses."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from service.llm.endpoints.rate_headers import (
    RemainingRate,
    read_remaining_rates,
    read_reset_s,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("2m59.56s", 179.56),
        ("1h1m1s", 3661.0),
        ("7.66s", 7.66),
        ("12", 12.0),
        (" 0.5 ", 0.5),
        ("1m", 60.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert read_reset_s(text) == pytest.approx(seconds)


def test_a_moment_is_read_in_each_form() -> None:
    at = datetime.now(UTC) + timedelta(seconds=40)
    forms = [
        str(int(at.timestamp())),
        str(int(at.timestamp() * 1000)),
        at.isoformat(),
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    ]
    for form in forms:
        assert read_reset_s(form) == pytest.approx(40, abs=2), form
    assert read_reset_s(str(time.time() - 100)) == 0.0


@pytest.mark.parametrize("text", ["", "soon", "-", "nan", "inf", "1e400", "9" * 40, "12 parsecs"])
def test_a_text_without_a_reset_is_no_reset(text: str) -> None:
    assert read_reset_s(text) is None


@pytest.mark.parametrize(
    ("headers", "rates"),
    [
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1m",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6ms",
            },
            [RemainingRate("requests", 0, 60.0, 60), RemainingRate("tokens", 149984, 0.006)],
        ),
        (
            {"anthropic-ratelimit-tokens-remaining": "5", "anthropic-ratelimit-tokens-reset": "2s"},
            [RemainingRate("tokens", 5, 2.0)],
        ),
        (
            {"x-ratelimit-remaining": "3", "x-ratelimit-reset": "9", "x-ratelimit-limit": "20"},
            [RemainingRate("requests", 3, 9.0, 20)],
        ),
        ({"x-ratelimit-remaining-requests": "0"}, []),  # no reset: nothing can be concluded
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "1s"}, []),
        ({"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "1s"}, []),
        ({}, []),
    ],
)
def test_limits_are_read_from_headers(headers: dict[str, str], rates: list[RemainingRate]) -> None:
    assert read_remaining_rates(headers) == rates
