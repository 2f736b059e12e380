"""Headers of every response: what caches and browsers may do with it."""

from __future__ import annotations

from quart import Quart, Response, request


def install(app: Quart) -> None:
    """Add `Cache-Control` and `X-Content-Type-Options` to the responses of `app`.

    Responses contain conversations, so no cache may store them; streams set their own value. A
    browser must not interpret model output as a page; Chromium would also delay text to detect
    its type. A request with both `Content-Length` and `Transfer-Encoding` closes its connection:
    another server in front may have taken the other one as the end of the request.
    Source: RFC 9112, 6.1
    """

    @app.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        if response.status_code == 204:  # there is no body to describe
            for name in ("Content-Type", "Content-Length"):
                response.headers.pop(name, None)
        if "Transfer-Encoding" in request.headers and "Content-Length" in request.headers:
            response.headers["Connection"] = "close"
        return response
