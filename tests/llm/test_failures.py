"""Errors from statuses and error objects of a model's server, and Retry-After."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from service.errors import UpstreamBusy, UpstreamError, UpstreamFailed, UpstreamRefused
from service.llm.failures import make_status_error, make_stream_error, parse_retry_after_s


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": "rate_limit_exceeded"}, UpstreamBusy),
        ({"message": "x", "type": "overloaded_error"}, UpstreamBusy),
        ({"message": "x", "type": "invalid_request_error", "code": None}, UpstreamRefused),
        ({"message": "x", "code": "context_length_exceeded"}, UpstreamRefused),
        ({"message": "x", "code": 500}, UpstreamFailed),
        ({"message": ["not", "text"]}, UpstreamFailed),
        ("just a sentence", UpstreamFailed),
        (["odd"], UpstreamFailed),
    ],
)
def test_the_code_of_an_error_object_determines_the_error(
    error: object, kind: type[UpstreamError]
) -> None:
    assert type(make_stream_error(error, "gpt-4o")) is kind


def test_an_error_object_without_a_message_gets_a_default_one() -> None:
    assert make_stream_error({}, "gpt-4o").message == "gpt-4o reported an error: no reason given"


def test_a_5xx_is_a_server_failure_regardless_of_its_error_object() -> None:
    body = b'{"error": {"message": "x", "type": "invalid_request_error"}}'
    assert type(make_status_error(500, {}, body, "gpt-4o")) is UpstreamFailed


@pytest.mark.parametrize("body", [b"", b"null", b"[1]", b'"x"', b"\xff", b'{"error": "x"}'])
def test_any_error_body_results_in_an_error(body: bytes) -> None:
    assert isinstance(make_status_error(400, {}, body, "gpt-4o"), UpstreamRefused)


# --- Retry-After ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after-ms": "-5"}, 0),
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_retry_after_is_seconds_milliseconds_or_a_date(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert parse_retry_after_s(headers) == seconds


def test_a_future_date_becomes_seconds_from_now() -> None:
    wait_s = parse_retry_after_s({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert wait_s == pytest.approx(60, abs=5)
