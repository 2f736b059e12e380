"""The headers of limited responses, and the error of a refused request."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from service.api.limits.headers import format_duration, list_headers, refuse
from service.limits.counters import CounterState, Outcome
from service.limits.rules import AppliedRule

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)


def _state(remaining: int, limit: int = 10, name: str = "all", **rule: object) -> CounterState:
    fields: dict[str, object] = {"kind": "requests", "period": "minute", **rule}
    applied = AppliedRule(name=name, subject="user:1", count=limit, **fields)  # type: ignore[arg-type]
    return CounterState(applied, limit, remaining, reset_s=59.2, retry_s=12.3)


def test_the_limit_closest_to_its_end_is_described_and_all_are_listed() -> None:
    streams = _state(0, 2, kind="streams", period=None)
    outcome = Outcome([_state(9), _state(3, name="key"), streams])
    headers = list_headers(outcome, NOW, openai=False)
    assert headers == {
        "X-RateLimit-Limit": "10",
        "X-RateLimit-Remaining": "3",
        "X-RateLimit-Reset": str(int(NOW.timestamp()) + 60),
        "RateLimit-Policy": (
            '"all";q=10;w=60, "key";q=10;w=60, "all streams";q=2;qu="concurrent-requests"'
        ),
        "RateLimit": '"all";r=9;t=60, "key";r=3;t=60, "all streams";r=0',
    }


def test_open_streams_are_described_where_they_refuse_or_are_the_only_limit() -> None:
    streams = _state(0, 2, kind="streams", period=None)
    for outcome in (Outcome([streams]), Outcome([_state(9), streams], streams)):
        headers = list_headers(outcome, NOW, openai=True)
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "0")
        assert "x-ratelimit-limit-requests" not in headers


def test_openais_headers_have_its_durations() -> None:
    headers = list_headers(Outcome([_state(3)]), NOW, openai=True)
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert headers["x-ratelimit-remaining-requests"] == "3"
    assert headers["x-ratelimit-reset-requests"] == "1m0s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.02, "20ms"), (0.9991, "1s"), (1, "1s"), (59.1, "1m0s"), (360, "6m0s"),
        (3_600, "1h0m0s"), (86_399.5, "24h0m0s"),
    ],
)  # fmt: skip
def test_a_duration_is_in_openais_format(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_bucket_has_its_size_and_its_rate() -> None:
    bucket = CounterState(
        AppliedRule(name="b", kind="requests", subject="s", count=60, period="minute", burst=5),
        5, 4, 1.0,
    )  # fmt: skip
    headers = list_headers(Outcome([bucket]), NOW, openai=False)
    assert headers["X-RateLimit-Limit"] == "5"
    assert headers["RateLimit-Policy"] == '"b";q=60;w=60'


@pytest.mark.parametrize("name", ['user=Jürgen "the key"', "back\\slash", "ключ"])
def test_a_name_is_a_string_of_a_structured_field(name: str) -> None:
    value = list_headers(Outcome([_state(1, name=name)]), NOW, openai=False)["RateLimit"]
    assert value.isascii()
    quoted = value.partition(";r=")[0]
    inner = quoted[1:-1].replace("\\\\", "").replace('\\"', "")
    assert quoted[0] == quoted[-1] == '"'
    assert '"' not in inner


def test_a_refusal_names_the_rule_its_use_and_its_end() -> None:
    error = refuse(_state(0), NOW)
    assert error.message == (
        "The limit 'all' is reached: 10 of 10 requests per minute are used; the next one is "
        "possible in 13 s, at 2026-11-27T12:00:13Z."
    )
    assert error.headers == {"Retry-After": "13"}


def test_a_long_wait_tells_sdks_not_to_repeat_the_request() -> None:
    state = CounterState(_state(0).rule, 10, 0, 3_600.0, 3_600.0)
    assert refuse(state, NOW).headers == {"Retry-After": "3600", "x-should-retry": "false"}
