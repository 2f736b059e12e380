"""Request ids and W3C trace context in request and response headers."""

import re
import uuid
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry import semconv
from telemetry.context import RequestInfo
from telemetry.semconv import OTHER

_propagator = TraceContextTextMapPropagator()
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
RESPONSE_HEADERS = frozenset({b"x-request-id", b"traceresponse", b"x-trace-id"})


@dataclass(frozen=True, slots=True)
class InboundContext:
    """The request id and the parent trace from a request's headers."""

    request_id: str
    parent: Context


def read_inbound_context(scope: Any, *, trust: bool) -> InboundContext:
    """Return the request's id and parent trace.

    A valid `x-request-id` is used, else a new id. `traceparent` is read only with `trust`.
    """
    request_id = ""
    carrier: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"x-request-id" and not request_id and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif trust and name in {b"traceparent", b"tracestate"}:
            carrier[name.decode()] = value.decode("latin-1")
    parent = _propagator.extract(carrier, Context()) if carrier else Context()
    return InboundContext(request_id or uuid.uuid4().hex, parent)


def build_response_headers(info: RequestInfo) -> list[tuple[bytes, bytes]]:
    """Return the three headers of every response: `x-request-id`, `traceresponse`, `x-trace-id`.

    Source: https://w3c.github.io/trace-context/#traceresponse-header
    """
    ids = info.span.get_span_context()
    # Only the sampled bit: version 00 of the header defines no other.
    flags = "01" if ids.trace_flags.sampled else "00"
    return [
        (b"x-request-id", info.request_id.encode()),
        (b"traceresponse", f"00-{info.trace_id}-{ids.span_id:016x}-{flags}".encode()),
        (b"x-trace-id", info.trace_id.encode()),
    ]


def normalize_method(scope: Any) -> str:
    """Return the HTTP method, or `_OTHER` for one outside the standards; GET for a WebSocket."""
    if scope["type"] == "websocket":
        return "GET"
    method: str = scope["method"]
    return method if method in semconv.KNOWN_METHODS else OTHER


def is_probe(scope: Any) -> bool:
    """Return whether the request is a health check or a scrape, sent every few seconds."""
    path: str = scope["path"]
    return path.startswith("/health") or path == "/metrics"
