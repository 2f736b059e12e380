"""What went wrong, when a model's server says so: by status, or by an error object.

Sans-IO, as `protocol` is.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from service.errors import UpstreamBusy, UpstreamError, UpstreamFailed, UpstreamRefused

# What a status means for the caller. Others: 4xx refused, the rest failed.
_ERROR_BY_STATUS: dict[int, type[UpstreamError]] = {
    408: UpstreamFailed,
    409: UpstreamBusy,
    425: UpstreamBusy,
    429: UpstreamBusy,
}

# Codes inside an error object that weigh more than the status, or come without one.
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


def make_stream_error(error: Any, who: str) -> UpstreamError:
    """Return the failure that an `{"error": …}` event inside a stream stands for."""
    kind = next(
        (_ERROR_BY_CODE[code] for code in _list_codes(error) if code in _ERROR_BY_CODE),
        UpstreamFailed,
    )
    return kind(f"{who} reported an error: {_read_message(error)}")


def make_status_error(
    status: int, headers: Mapping[str, str], body: bytes, who: str
) -> UpstreamError:
    """Return the failure that a response other than 200 stands for."""
    try:
        error = msgspec.json.decode(body).get("error")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
        error = None
    default = UpstreamRefused if status < 500 else UpstreamFailed
    by_code = (_ERROR_BY_CODE[code] for code in _list_codes(error) if code in _ERROR_BY_CODE)
    # 5xx is the server's fault whatever the object says; a quota is not a rate.
    kind = default if status >= 500 else next(by_code, _ERROR_BY_STATUS.get(status, default))
    if status in {401, 403}:
        return UpstreamRefused(f"{who} refused the key ({status}): check the key's setting.")
    said = f": {_read_message(error)}" if error else "."
    return kind(f"{who} answered {status}{said}", retry_after_s=parse_retry_after_s(headers))


def parse_retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks us to wait.

    Source: RFC 9110, 10.2.3 (seconds or a date); `retry-after-ms` as OpenAI sends it.
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
