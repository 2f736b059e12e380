"""Errors become responses here, and nowhere else."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from quart import Quart, Response, has_request_context, request
from werkzeug.exceptions import HTTPException

from service.api.openai.chunks import error_object
from service.errors import RequestError, StorageUnavailable
from telemetry import Telemetry, current_request

_log = logging.getLogger(__name__)

_OPENAI = "/v1/"

# Sentences and slugs for what Quart itself refuses.
_HTTP: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request could not be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    408: ("body_timeout", "The body did not arrive in time."),
    413: ("body_too_large", "The body is larger than the service accepts."),
}


def install(app: Quart, telemetry: Telemetry) -> None:
    """Let every error of `app` leave in the contract's shape."""

    async def of_storage(error: StorageUnavailable) -> Response:
        telemetry.record_store_rejection(error.reason)
        headers = {"Retry-After": str(math.ceil(error.retry_after_s))}
        return problem(503, error.code, error.message, headers=headers)

    app.register_error_handler(StorageUnavailable, of_storage)
    app.register_error_handler(RequestError, _of_request)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _of_bug)


def problem(
    status: int,
    code: str,
    message: str,
    *,
    details: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the JSON error response: error, code, request_id, trace_id and perhaps details.

    Below `/v1/` it has OpenAI's shape; the ids are in the headers there.
    """
    if has_request_context() and request.path.startswith(_OPENAI):  # a WebSocket has none
        param = (details[0]["field"] or None) if details else None
        body = error_object(message, code, status, param)
    else:
        body = _own_shape(code, message, details)
    return Response(
        json.dumps(body) + "\n", status, dict(headers or {}), content_type="application/json"
    )


def _own_shape(code: str, message: str, details: list[dict[str, str]] | None) -> dict[str, Any]:
    info = current_request()
    body: dict[str, Any] = {
        "error": message,
        "code": code,
        "request_id": info.request_id if info else "",
        "trace_id": info.trace_id if info else "",
    }
    return {**body, "details": details} if details else body


async def _of_request(error: RequestError) -> Response:
    details = [{"field": each.field, "message": each.message} for each in error.details]
    return problem(error.status, error.code, error.message, details=details, headers=error.headers)


async def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    code, message = _HTTP.get(status, (f"http_{status}", error.description or error.name))
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return problem(status, code, message, headers=headers)


async def _of_bug(error: Exception) -> Response:
    _log.error("a request failed for a reason that is a bug", exc_info=error)
    return problem(500, "internal_error", "The service failed; this has been logged.")
