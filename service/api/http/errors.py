"""Errors as HTTP responses: the table from error codes to statuses, and the JSON body.

Every layer below raises a `ServiceError` with a code; only this module knows HTTP statuses. Below
`/v1/` the body has OpenAI's shape.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from quart import Quart, Response, has_request_context, request
from werkzeug.exceptions import HTTPException

from service.api.http.sse import run_headers
from service.api.http.unknown_addresses import describe_unknown
from service.errors import RequestError, StorageUnavailable, drop_tracebacks, end_sentence
from service.events import RunFailed
from service.runs.run import Run
from telemetry import Telemetry, current_request

_log = logging.getLogger(__name__)

_OPENAI = "/v1/"
_OVERLOADED_RETRY_S = "2"
_LONGEST_RETRY_S = 86_400
_LONGEST_WAIT_OF_SDKS_S = 60

STATUSES: Mapping[str, int] = {
    # a request that cannot be accepted
    "bad_request": 400,
    "bad_json": 400,
    "bad_idempotency_key": 400,
    "bad_last_event_id": 400,
    "bad_position": 400,
    "item_not_found": 400,
    "previous_response_not_found": 400,
    "unknown_ensemble": 400,
    "unsupported_parameter": 400,
    "login_failed": 401,
    "unauthorized": 401,
    "budget_exceeded": 402,
    "csrf_token_missing": 403,
    "forbidden": 403,
    "invite_refused": 403,
    "invite_required": 403,
    "registration_closed": 403,
    "wrong_password": 403,
    "origin_not_allowed": 403,
    "host_not_served": 421,
    "conversation_not_found": 404,
    "key_not_found": 404,
    "model_not_found": 404,
    "not_found": 404,
    "response_not_found": 404,
    "run_not_found": 404,
    "session_not_found": 404,
    "user_not_found": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "accounts_off": 409,
    "last_admin": 409,
    "name_taken": 409,
    "no_account": 409,
    "no_password": 409,
    "no_session": 409,
    "previous_response_in_progress": 409,
    "run_not_finished": 409,
    "run_not_retryable": 409,
    "runs_running": 409,
    "no_stored_answers": 409,
    "run_expired": 410,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "idempotency_key_reused": 422,
    "upgrade_required": 426,
    "rate_limited": 429,
    "too_many_attempts": 429,
    "too_many_waiting": 429,
    # the state of the service
    "internal_error": 500,
    "draining": 503,
    "keys_unavailable": 503,
    "overloaded": 503,
    "storage_unavailable": 503,
    # a run that failed before any of its output was sent
    "context_length_exceeded": 400,
    "abandoned": 409,
    "cancelled": 409,
    "cost_cap": 502,
    "format_not_met": 502,
    "content_filtered": 502,
    "circuit_open": 503,
    "endpoint_limited": 429,
    "missing_key": 502,
    "tokens_used_up": 502,
    "too_few_answers": 502,
    "upstream_bad_stream": 502,
    "upstream_busy": 429,
    "upstream_empty": 502,
    "upstream_failed": 502,
    "upstream_incomplete": 502,
    "upstream_invalid_request": 400,
    "upstream_refused": 502,
    "upstream_unreachable": 502,
    "interrupted": 503,
    "shutting_down": 503,
    "run_timeout": 504,
    "upstream_timeout": 504,
}

# Codes of failed runs for which another attempt costs the same and fails the same way. OpenAI's
# SDKs repeat a request after 408, 409, 429 and 5xx unless `x-should-retry` says otherwise.
_PERMANENT = frozenset(
    {
        "missing_key", "upstream_refused", "budget_exceeded", "cost_cap", "cancelled",
        "content_filtered", "tokens_used_up",
    }
)  # fmt: skip

# Codes and messages for what Quart itself refuses.
_HTTP: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request could not be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not accept that method."),
    408: ("body_timeout", "The body did not arrive in time."),
    413: ("body_too_large", "The body is larger than the service accepts."),
}

# Source: https://platform.openai.com/docs/guides/error-codes
_OPENAI_TYPES = {402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
# OpenAI's codes where they differ; its SDKs and their users compare them.
_OPENAI_CODES = {"unauthorized": "invalid_api_key", "rate_limited": "rate_limit_exceeded"}


def install(app: Quart, telemetry: Telemetry) -> None:
    """Convert every error of `app`'s handlers into a response in the contract's shape."""

    async def from_storage(error: StorageUnavailable) -> Response:
        telemetry.record_store_rejection(error.reason)
        headers = {"Retry-After": str(math.ceil(error.retry_after_s))}
        return problem(error.code, error.message, headers=headers)

    app.register_error_handler(StorageUnavailable, from_storage)
    app.register_error_handler(RequestError, _from_request_error)
    app.register_error_handler(HTTPException, _from_http_exception)
    app.register_error_handler(Exception, _from_bug)


def problem(
    code: str,
    message: str,
    *,
    status: int | None = None,
    details: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the JSON error response: error, code, request_id, trace_id and perhaps details.

    The status is the table's unless `status` is given. Below `/v1/` the body has OpenAI's shape;
    there the ids are only in the headers.
    """
    status = status or STATUSES[code]
    retry = {"Retry-After": _OVERLOADED_RETRY_S} if status == 503 else {}
    if has_request_context() and request.path.startswith(_OPENAI):  # a WebSocket has no request
        param = (details[0]["field"] or None) if details else None
        body = openai_error(message, code, status, param)
    else:
        body = _problem_body(code, message, details)
    return Response(
        json.dumps(body, ensure_ascii=False) + "\n",
        status,
        {**retry, **(headers or {})},
        content_type="application/json",
    )


def openai_error(
    message: str, code: str, status: int = 500, param: str | None = None
) -> dict[str, Any]:
    """Return an error object in OpenAI's format; its type follows from the HTTP status."""
    kind = "server_error" if status >= 500 else _OPENAI_TYPES.get(status, "invalid_request_error")
    shown = _OPENAI_CODES.get(code, code)
    return {"error": {"message": message, "type": kind, "param": param, "code": shown}}


def run_failure(run: Run, failure: RunFailed) -> RequestError:
    """Return the error for a run that failed before any response was sent."""
    headers = {**run_headers(run), **_retry_headers(failure)}
    message = failure.message
    if failure.partial:
        message = f"{end_sentence(message)} The text received until then is stored."
    return RequestError(failure.code, message, headers=headers)


def _retry_headers(failure: RunFailed) -> dict[str, str]:
    """Return the headers that tell a client whether to repeat a failed question, and when.

    OpenAI's SDKs wait for a `Retry-After` of up to 60 s; for a longer one they would repeat the
    question after half a second.
    Source: openai-python, `_base_client.py`, `_calculate_retry_timeout` and `_should_retry`
    """
    headers = {}
    after_s = failure.retry_after_s
    if after_s is not None:
        headers["Retry-After"] = str(math.ceil(min(after_s, _LONGEST_RETRY_S)))
    elif STATUSES.get(failure.code) in (429, 503):
        headers["Retry-After"] = _OVERLOADED_RETRY_S
    is_permanent = failure.code in _PERMANENT or failure.should_retry is False
    if is_permanent or (after_s or 0) > _LONGEST_WAIT_OF_SDKS_S:
        headers["x-should-retry"] = "false"
    return headers


def _problem_body(code: str, message: str, details: list[dict[str, str]] | None) -> dict[str, Any]:
    info = current_request()
    body: dict[str, Any] = {
        "error": message,
        "code": code,
        "request_id": info.request_id if info else "",
        "trace_id": info.trace_id if info else "",
    }
    return {**body, "details": details} if details else body


async def _from_request_error(error: RequestError) -> Response:
    details = [{"field": each.field, "message": each.message} for each in error.details]
    return problem(error.code, error.message, details=details, headers=error.headers)


async def _from_http_exception(error: HTTPException) -> Response:
    drop_tracebacks(error)  # Quart's request refers to it
    status = error.code or 500
    code, message = _HTTP.get(status, (f"http_{status}", error.description or error.name))
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    if not has_request_context():  # a WebSocket
        return problem(code, message, status=status)
    if status == 404:
        message = describe_unknown(request.path)
    elif accepted := set(headers.get("Allow", "").split(", ")) - {"", "HEAD", "OPTIONS"}:
        message = f"This address accepts {', '.join(sorted(accepted))}, not {request.method}."
    return problem(code, message, status=status, headers=headers)


async def _from_bug(error: Exception) -> Response:
    _log.error("unexpected error while handling a request", exc_info=error)
    return problem("internal_error", "The service failed; this has been logged.")
