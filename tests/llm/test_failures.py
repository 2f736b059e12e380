"""Errors from statuses and error objects of a model's server, and Retry-After."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest

from service.errors import (
    UpstreamBusy,
    UpstreamContextExceeded,
    UpstreamError,
    UpstreamFailed,
    UpstreamInvalidRequest,
    UpstreamRefused,
)
from service.llm.failures import (
    make_document_error,
    make_status_error,
    make_stream_error,
    parse_retry_after_s,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": "rate_limit_exceeded"}, UpstreamBusy),
        ({"message": "x", "type": "overloaded_error"}, UpstreamBusy),
        ({"message": "x", "type": "invalid_request_error", "code": None}, UpstreamInvalidRequest),
        ({"message": "x", "code": "context_length_exceeded"}, UpstreamContextExceeded),
        ({"message": "x", "code": "insufficient_quota"}, UpstreamRefused),
        ({"message": "x", "code": 429}, UpstreamBusy),
        ({"message": "x", "code": 400}, UpstreamInvalidRequest),
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


# --- statuses and types ---


def _answer(http_status: int, **error: object) -> UpstreamError:
    body = json.dumps({"error": {"message": "Because.", **error}}).encode()
    return make_status_error(http_status, {}, body, "gpt-4o")


@pytest.mark.parametrize("kind", ["invalid_request_error", "authentication_error", "anything"])
@pytest.mark.parametrize("status", [408, 409, 425, 429, 498, 500, 502, 503, 504, 529])
def test_a_status_that_is_retried_is_retried_whatever_the_type(status: int, kind: str) -> None:
    assert _answer(status, type=kind, code=kind).retryable


@pytest.mark.parametrize("status", [400, 402, 403, 429])
@pytest.mark.parametrize(
    "error",
    [
        {"code": "insufficient_quota"},
        {"type": "insufficient_quota", "code": None},
        {"message": "You exceeded your current quota, please check your plan and billing details."},
        {"message": "Insufficient Balance"},
        {"message": "Your credit balance is too low to access the API."},
        {"type": "exceeded_current_quota_error"},
    ],
)
def test_a_used_up_quota_is_permanent(status: int, error: dict[str, object]) -> None:
    assert type(_answer(status, **error)) is UpstreamRefused


def test_a_quota_per_minute_is_a_rate_limit() -> None:
    error = _answer(
        429,
        message="You exceeded your current quota. Please retry in 23.4s.",
        status="RESOURCE_EXHAUSTED",
    )
    assert type(error) is UpstreamBusy


def test_a_request_beyond_every_limit_is_not_retried() -> None:
    assert not _answer(413, code="rate_limit_exceeded", type="tokens").retryable


def test_a_rate_limit_in_tokens_is_not_a_context_refusal() -> None:
    error = _answer(
        429,
        code="rate_limit_exceeded",
        message="Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested "
        "40000. The input or output tokens must be reduced in order to run successfully.",
    )
    assert type(error) is UpstreamBusy


# --- the key ---


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "message", ["", "Incorrect API key provided: x.", "Unauthorized", "Invalid token"]
)
def test_a_refused_key_is_reported_with_advice(status: int, message: str) -> None:
    error = _answer(status, message=message)
    assert f"refused the key ({status})" in error.message
    assert message.rstrip(".") in error.message
    assert error.message.endswith("check the key's setting.")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "Country, region, or territory not supported"),
        (403, "Project does not have access to model gpt-5"),
        (401, "You must be a member of an organization to use the API"),
        (400, "Invalid API parameter"),
        (403, "<html><head><title>Attention Required! | Cloudflare</title></head></html>"),
    ],
)
def test_a_refusal_for_another_reason_contains_no_advice_about_the_key(
    status: int, message: str
) -> None:
    error = _answer(status, message=message)
    assert "key" not in error.message
    assert error.message.startswith(f"gpt-4o answered {status}: ")


# --- the address ---


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"404 page not found\n", "page not found"),
        (b"<html><title>404 Not Found</title></html>", "Not Found"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"", ""),
    ],
)
def test_an_address_that_does_not_exist_is_reported_with_advice(
    body: bytes, reason: str, status: int
) -> None:
    message = make_status_error(status, {}, body, "gpt-4o").message
    assert reason in message
    assert message.endswith("; check the agent's base_url.")


def test_a_model_that_does_not_exist_needs_no_advice_about_the_address() -> None:
    error = _answer(404, message="The model `x` does not exist.")
    assert error.message == "gpt-4o answered 404: The model `x` does not exist."


# --- documents with status 200 ---


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "No."}},
        {"error": "No."},
        [{"error": {"message": "No."}}],
        {"object": "error", "message": "No."},
        {"detail": "No."},
        {"errors": [{"message": "No."}], "success": False},
    ],
)
def test_a_document_without_an_answer_is_the_error_that_it_reports(document: object) -> None:
    error = make_document_error(document, "gpt-4o")
    assert error is not None
    assert error.message == "gpt-4o reported an error: No."


@pytest.mark.parametrize(
    "document",
    [{}, [], None, "x", 3, {"id": "1", "object": "chat.completion.chunk"}, {"error": None},
     {"choices": [{"message": {"content": "Hi"}}], "error": None}, {"message": {}}],
)  # fmt: skip
def test_a_document_without_an_error_is_none(document: object) -> None:
    assert make_document_error(document, "gpt-4o") is None


@pytest.mark.parametrize(
    "document",
    [{"data": {"reply": "No such luck."}}, {"result": "No such luck.", "ok": False},
     {"status": {"code": 3, "text": "No such luck."}}],
)  # fmt: skip
def test_any_sentence_is_an_error_when_the_response_has_nothing_else(document: object) -> None:
    error = make_document_error(document, "gpt-4o", is_all=True)
    assert error is not None
    assert error.message == "gpt-4o reported an error: No such luck."
    assert make_document_error({"id": "1", "object": "x"}, "gpt-4o", is_all=True) is None


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"code": 7}'])
def test_a_refusal_without_a_reason_is_that_of_the_request(status: int, body: bytes) -> None:
    error = make_status_error(status, {}, body, "gpt-4o")
    assert type(error) is UpstreamInvalidRequest
    assert error.message == f"gpt-4o answered {status}."


# --- Retry-After ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "30, 30"}, 30),
        ({"retry-after": " 7s "}, 7),
        ({"retry-after": "12 seconds"}, 12),
        ({"retry-after": "1e1"}, None),
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


def test_asctime_is_in_gmt_in_every_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        wait_s = parse_retry_after_s({"retry-after": time.asctime(time.gmtime(time.time() + 60))})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert wait_s == pytest.approx(60, abs=5)


def test_a_future_date_becomes_seconds_from_now() -> None:
    wait_s = parse_retry_after_s({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert wait_s == pytest.approx(60, abs=5)
