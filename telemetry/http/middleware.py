"""The ASGI middleware: what every request and WebSocket goes through.

Knows neither routes nor framework: the service puts the URL rule into `RequestInfo.route`.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any

from telemetry.context import request_var
from telemetry.http.request import Receive, Send, ServerRequest, WebSocketRequest
from telemetry.spans.operation import Recorder

ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]


class Middleware:
    """Wraps an ASGI application; `lifespan` passes untouched."""

    def __init__(self, app: ASGIApp, recorder: Recorder, *, trust_traceparent: bool) -> None:
        self._app = app
        self._recorder = recorder
        self._trust_traceparent = trust_traceparent

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection of the server."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        kind = ServerRequest if scope["type"] == "http" else WebSocketRequest
        exchange = kind(self._recorder, scope, receive, send, trust=self._trust_traceparent)
        token = request_var.set(exchange.info)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except CancelledError:
            exchange.cancelled = True
            raise
        except Exception as error:  # the edge: whatever escapes the application ends here
            exchange.error = type(error).__qualname__
            if not await exchange.answer_500():
                raise
        finally:
            exchange.finish()
            request_var.reset(token)
