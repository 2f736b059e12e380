"""The server span, HTTP metrics and access log line of one request.

A request lasts until its last body byte is sent. Nothing is recorded per `send`, since a stream
makes thousands of them.
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
    build_response_headers,
    is_probe,
    normalize_method,
    read_inbound_context,
)
from telemetry.logs import redact
from telemetry.non_recording import NonRecordingTracer
from telemetry.semconv import OTHER
from telemetry.spans.operation import Recorder

ASGIMessage = Any
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]

_access = logging.getLogger("access")
_unhandled = logging.getLogger("unhandled")
_non_recording_tracer = NonRecordingTracer()
_SHOWN_CHARS = 64  # of a path in the message of an access line; its field has all of it
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
        self._method = normalize_method(scope)
        self._inbound = read_inbound_context(scope, trust=trust)
        self.info = self._start_span()
        self._headers = build_response_headers(self.info)
        self._is_complete = False  # the application has passed its last body message
        self._finished = False
        self._status = 0
        self._bytes = 0
        self._disconnected = False
        self.cancelled = False
        self.error = ""
        self._count_active(1)

    def _start_span(self) -> RequestInfo:
        scope = self._scope
        attributes = {
            semconv.HTTP_METHOD: self._method,
            semconv.URL_PATH: redact(scope["path"]),
            semconv.URL_SCHEME: scope.get("scheme", "http"),
            semconv.PROTOCOL_VERSION: scope.get("http_version", "1.1"),
            semconv.REQUEST_ID: self._inbound.request_id,
        }
        if self._method == OTHER:
            attributes[semconv.HTTP_METHOD_ORIGINAL] = scope["method"]
        parent = self._inbound.parent
        # Probes come every few seconds and would outnumber the traces of questions.
        tracer = _non_recording_tracer if is_probe(scope) else self._recorder.tracer
        span = tracer.start_span(
            self._build_span_name(""), context=parent, kind=SpanKind.SERVER, attributes=attributes
        )
        return RequestInfo(
            request_id=self._inbound.request_id,
            trace_id=format(span.get_span_context().trace_id, "032x"),
            context=set_span_in_context(span, parent),
            span=span,
        )

    def _build_span_name(self, route: str) -> str:
        method = "HTTP" if self._method == OTHER else self._method
        return f"{method} {route}" if route else method

    async def receive(self) -> ASGIMessage:
        """Return the server's next message; record a client that disconnected before the end."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._is_complete:
            self._disconnected = True
        return message

    async def send(self, message: ASGIMessage) -> None:
        """Send the application's message; the last body message ends the request."""
        if message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
            await self._send(message)
            if self._is_complete:
                self.finish()
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message = self._add_headers(message)
        await self._send(message)

    def _add_headers(self, message: ASGIMessage) -> ASGIMessage:
        headers = message.get("headers", ())
        others = [pair for pair in headers if bytes(pair[0]).lower() not in RESPONSE_HEADERS]
        return {**message, "headers": [*others, *self._headers]}

    async def answer_500(self) -> bool:
        """Send a 500 response for an application that failed; False if a response has started."""
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
        """End the span, observe the metrics and write the access line; later calls do nothing."""
        if self._finished:
            return
        self._finished = True
        self._count_active(-1)
        duration_s = perf_counter() - self._started
        error = self.error or (str(self._status) if self._status >= 500 else "")
        self._observe(duration_s, error)
        self._end_span(error)
        self._log_access(duration_s)

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
            span.update_name(self._build_span_name(info.route))
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
            span.set_attribute(semconv.HTTP_RESPONSE_BYTES, self._bytes + info.direct_bytes)
            if error:
                span.set_status(StatusCode.ERROR)
        span.end()

    def _log_access(self, duration_s: float) -> None:
        path = self._scope["path"]
        level = logging.DEBUG if is_probe(self._scope) else logging.INFO
        if not _access.isEnabledFor(level):
            return
        extra: dict[str, object] = {
            "method": self._method,
            "path": path,
            "status": self._status,
            "duration_ms": round(duration_s * 1000, 1),
            "bytes": self._bytes + self.info.direct_bytes,
        }
        if self._disconnected:
            extra["client_disconnected"] = True
        shown = path if len(path) <= _SHOWN_CHARS else f"{path[: _SHOWN_CHARS - 1]}…"
        _access.log(level, "%s %s %s", self._method, shown, self._status or "-", extra=extra)


class WebSocketRequest(ServerRequest):
    """One WebSocket: a request that lasts as long as its connection; not in the HTTP metrics."""

    async def receive(self) -> ASGIMessage:
        """Return the server's next message; record an abnormal end of the connection."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._disconnected = message.get("code") == _ABNORMAL_CLOSE
        return message

    async def send(self, message: ASGIMessage) -> None:
        """Send the application's message, counting the bytes sent to the client."""
        kind = message["type"]
        if kind == "websocket.send":
            self._bytes += len(message.get("bytes") or message.get("text") or b"")
        elif kind == "websocket.accept":
            self._status = 101
            message = self._add_headers(message)
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
            message = self._add_headers(message)
        elif kind == "websocket.close" and not self._status:
            self._status = 403  # ASGI: a close before the accept rejects the handshake with 403
        await self._send(message)

    async def answer_500(self) -> bool:
        """Return False: the server closes the connection of a failed WebSocket."""
        return False

    def _count_active(self, change: int) -> None:
        """Do nothing: connections of hours would distort the metric."""

    def _observe(self, duration_s: float, error: str) -> None:
        """Do nothing, for the same reason."""
