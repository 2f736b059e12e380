"""Errors for failures that a model's server reports with a status or an error object. Sans-IO."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from service.errors import UpstreamBusy, UpstreamError, UpstreamFailed, UpstreamRefused

# Statuses with their own error. Other 4xx are UpstreamRefused, all others UpstreamFailed.
_ERROR_BY_STATUS: dict[int, type[UpstreamError]] = {
    408: UpstreamFailed,
    409: UpstreamBusy,
    425: UpstreamBusy,
    429: UpstreamBusy,
}

# Codes of an error object, which take precedence over a status below 500.
_ERROR_BY_CODE: dict[str, type[UpstreamError]] = {
    "insufficient_quota": UpstreamRefused,
    "invalid_api_key": UpstreamRefused,
    "model_not_found": UpstreamRefused,
    "context_length_exceeded": UpstreamRefused,
    "invalid_request_error": UpstreamRefused,
    "rate_limit_exceeded": UpstreamBusy,
    "rate_limit_error": UpstreamBusy,
    "overloaded_error": UpstreamBusy,
}


def make_stream_error(error: Any, model: str) -> UpstreamError:
    """Return the error for an `{"error": …}` object within a stream."""
    kind = next(
        (_ERROR_BY_CODE[code] for code in _list_codes(error) if code in _ERROR_BY_CODE),
        UpstreamFailed,
    )
    return kind(f"{model} reported an error: {_read_message(error)}")


def make_status_error(
    status: int, headers: Mapping[str, str], body: bytes, model: str
) -> UpstreamError:
    """Return the error for a response with a status other than 200."""
    try:
        error = msgspec.json.decode(body).get("error")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
        error = None
    default = UpstreamRefused if status < 500 else UpstreamFailed
    by_code = (_ERROR_BY_CODE[code] for code in _list_codes(error) if code in _ERROR_BY_CODE)
    # 5xx is a failure of the server, regardless of the error object. An exhausted quota has the
    # status of a rate limit (429), but waiting does not help.
    kind = default if status >= 500 else next(by_code, _ERROR_BY_STATUS.get(status, default))
    if status in {401, 403}:
        return UpstreamRefused(f"{model} refused the key ({status}): check the key's setting.")
    detail = f": {_read_message(error)}" if error else "."
    return kind(f"{model} answered {status}{detail}", retry_after_s=parse_retry_after_s(headers))


def parse_retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the delay in seconds that the server requests, None without a valid one.

    Source: RFC 9110, 10.2.3 (seconds or a date); OpenAI also sends `retry-after-ms`.
    """
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        if value.strip().replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _list_codes(error: Any) -> list[str]:
    if not isinstance(error, dict):
        return []
    return [str(error[key]) for key in ("code", "type") if error.get(key)]


def _read_message(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(message or "no reason given").split())
