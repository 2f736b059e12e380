"""ASGI middleware that traces and measures every request and WebSocket.

Knows neither routes nor the framework: the service sets `RequestInfo.route` to the URL rule.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any

from telemetry.context import request_var
from telemetry.http.request import Receive, Send, ServerRequest, WebSocketRequest
from telemetry.spans.operation import Recorder

ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]


class Middleware:
    """Wraps an ASGI application; `lifespan` passes through unchanged."""

    def __init__(self, app: ASGIApp, recorder: Recorder, *, trust_traceparent: bool) -> None:
        self._app = app
        self._recorder = recorder
        self._trust_traceparent = trust_traceparent

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or WebSocket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_class = ServerRequest if scope["type"] == "http" else WebSocketRequest
        request = request_class(self._recorder, scope, receive, send, trust=self._trust_traceparent)
        token = request_var.set(request.info)
        try:
            await self._app(scope, request.receive, request.send)
        except CancelledError:
            request.cancelled = True
            raise
        except Exception as error:  # the edge: no exception of the application passes it
            request.error = type(error).__qualname__
            if not await request.answer_500():
                raise
        finally:
            request.finish()
            request_var.reset(token)
