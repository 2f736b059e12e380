"""One request and its response: the server span, the HTTP metrics, the access line.

A request lasts to its last body byte. Nothing is recorded per send, since a stream has thousands.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from telemetry import semconv
from telemetry.context import RequestInfo
from telemetry.http.headers import (
    RESPONSE_HEADERS,
    is_probe,
    method_of,
    read_inbound,
    response_headers,
)
from telemetry.non_recording import NonRecordingTracer
from telemetry.semconv import OTHER
from telemetry.spans.operation import Recorder

Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_access = logging.getLogger("access")
_unhandled = logging.getLogger("unhandled")
_quiet_tracer = NonRecordingTracer()
_ABNORMAL_CLOSE = 1006  # RFC 6455, 7.4.1: the connection was lost


class ServerRequest:
    """One HTTP request and its response."""

    def __init__(
        self, recorder: Recorder, scope: Any, receive: Receive, send: Send, *, trust: bool
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._recorder = recorder
        self._started = perf_counter()
        self._method = method_of(scope)
        self._inbound = read_inbound(scope, trust=trust)
        self.info = self._request_info()
        self._headers = response_headers(self.info)
        self._ending = False  # the last byte is on its way
        self._finished = False
        self._status = 0
        self._bytes = 0
        self._disconnected = False
        self.cancelled = False
        self.error = ""
        self._count_active(1)

    def _request_info(self) -> RequestInfo:
        scope = self._scope
        attributes = {
            semconv.HTTP_METHOD: self._method,
            semconv.URL_PATH: scope["path"],
            semconv.URL_SCHEME: scope.get("scheme", "http"),
            semconv.PROTOCOL_VERSION: scope.get("http_version", "1.1"),
            semconv.REQUEST_ID: self._inbound.request_id,
        }
        if self._method == OTHER:
            attributes[semconv.HTTP_METHOD_ORIGINAL] = scope["method"]
        parent = self._inbound.parent
        # A probe every few seconds would bury the traces of questions.
        tracer = _quiet_tracer if is_probe(scope) else self._recorder.tracer
        span = tracer.start_span(
            self._span_name(""), context=parent, kind=SpanKind.SERVER, attributes=attributes
        )
        return RequestInfo(
            request_id=self._inbound.request_id,
            trace_id=format(span.get_span_context().trace_id, "032x"),
            context=set_span_in_context(span, parent),
            span=span,
        )

    def _span_name(self, route: str) -> str:
        method = "HTTP" if self._method == OTHER else self._method
        return f"{method} {route}" if route else method

    async def receive(self) -> Message:
        """Pass the server's next message on, noting a client that left before the end."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._ending:
            self._disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """Pass the application's message on; the last one ends the request."""
        if message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
            self._ending = not message.get("more_body", False)
            await self._send(message)
            if self._ending:
                self.finish()
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message = self._with_headers(message)
        await self._send(message)

    def _with_headers(self, message: Message) -> Message:
        theirs = message.get("headers", ())
        kept = [pair for pair in theirs if bytes(pair[0]).lower() not in RESPONSE_HEADERS]
        return {**message, "headers": [*kept, *self._headers]}

    async def answer_500(self) -> bool:
        """Answer for an application that failed before it answered; False when it is too late."""
        if self._status or self._finished:
            return False
        _unhandled.exception("The application failed before it answered.")
        body = {
            "error": "Something went wrong on our side.",
            "code": "internal_error",
            "request_id": self.info.request_id,
            "trace_id": self.info.trace_id,
        }
        headers = [(b"content-type", b"application/json")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": json.dumps(body).encode()})
        return True

    def finish(self) -> None:
        """End the span, observe the metrics, write the access line; only the first call counts."""
        if self._finished:
            return
        self._finished = True
        self._count_active(-1)
        duration_s = perf_counter() - self._started
        error = self.error or (str(self._status) if self._status >= 500 else "")
        self._observe(duration_s, error)
        self._end_span(error)
        self._log(duration_s)

    def _count_active(self, change: int) -> None:
        self._recorder.metrics.active_requests.child(self._method).inc(change)

    def _observe(self, duration_s: float, error: str) -> None:
        metrics = self._recorder.metrics
        status = str(self._status or "")
        route = self.info.route or OTHER
        series = metrics.request_duration.child(self._method, route, status, error)
        series.observe(duration_s, metrics.exemplar(self.info.span.get_span_context()))

    def _end_span(self, error: str) -> None:
        info, span = self.info, self.info.span
        if span.is_recording():
            span.update_name(self._span_name(info.route))
            attributes: dict[str, str | int] = {
                semconv.HTTP_ROUTE: info.route,
                semconv.HTTP_STATUS: self._status,
                semconv.RUN_ID: info.run_id,
                semconv.CONVERSATION_ID: info.conversation_id,
                semconv.CLIENT_DISCONNECTED: self._disconnected,
                semconv.CANCELLED: self.cancelled and not error,
                semconv.ERROR_TYPE: error,
            }
            span.set_attributes({key: value for key, value in attributes.items() if value})
            span.set_attribute(semconv.HTTP_RESPONSE_BYTES, self._bytes)
            if error:
                span.set_status(StatusCode.ERROR)
        span.end()

    def _log(self, duration_s: float) -> None:
        path = self._scope["path"]
        level = logging.DEBUG if is_probe(self._scope) else logging.INFO
        if not _access.isEnabledFor(level):
            return
        facts: dict[str, object] = {
            "method": self._method,
            "path": path,
            "status": self._status,
            "duration_ms": round(duration_s * 1000, 1),
            "bytes": self._bytes,
        }
        if self._disconnected:
            facts["client_disconnected"] = True
        _access.log(level, "%s %s %s", self._method, path, self._status or "-", extra=facts)


class WebSocketRequest(ServerRequest):
    """One WebSocket, as a request that lasts as long as its connection; not in the HTTP metrics."""

    async def receive(self) -> Message:
        """Pass the server's next message on, noting the end of the connection."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._disconnected = message.get("code") == _ABNORMAL_CLOSE
        return message

    async def send(self, message: Message) -> None:
        """Pass the application's message on, counting what the client gets."""
        kind = message["type"]
        if kind == "websocket.send":
            self._bytes += len(message.get("bytes") or message.get("text") or b"")
        elif kind == "websocket.accept":
            self._status = 101
            message = self._with_headers(message)
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
            message = self._with_headers(message)
        elif kind == "websocket.close" and not self._status:
            self._status = 403  # closed before it was accepted, says the ASGI specification
        await self._send(message)

    async def answer_500(self) -> bool:
        """Leave the answer to the server, which closes the connection."""
        return False

    def _count_active(self, change: int) -> None:
        """Not counted: a connection of hours would drown the requests."""

    def _observe(self, duration_s: float, error: str) -> None:
        """Not observed, for the same reason."""
