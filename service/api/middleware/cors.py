"""CORS: permits the pages of ALLOWED_ORIGINS to read responses.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from quart import Quart, Response, request

from service.api.limits.headers import READABLE
from service.api.middleware.origins import Origins

_READABLE = (
    "X-Run-Id, X-Conversation-Id, X-Degraded, X-Request-ID, X-Trace-Id, traceresponse, "
    f"Retry-After, x-should-retry, WWW-Authenticate, {READABLE}"
)
_PREFLIGHT_MAX_AGE_S = 600


def install(app: Quart, origins: Origins) -> None:
    """Add the CORS headers to the responses of `app`."""

    @app.after_request
    async def allow(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin and origins.allow(origin, request.headers.get("Host")):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _READABLE
            if request.method == "OPTIONS":
                _answer_preflight(response)
        return response


def _answer_preflight(response: Response) -> None:
    """Allow any header, and the methods that the address accepts."""
    headers = response.headers
    if "Access-Control-Request-Method" in request.headers:
        headers["Access-Control-Allow-Methods"] = headers.get("Allow", "")
        headers["Access-Control-Max-Age"] = str(_PREFLIGHT_MAX_AGE_S)
    if wanted := request.headers.get("Access-Control-Request-Headers"):
        headers["Access-Control-Allow-Headers"] = wanted
