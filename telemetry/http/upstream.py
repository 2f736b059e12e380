"""Spans of requests to model servers, with trace headers only for allowed hosts.

Each request has a CLIENT span until its response's head. `TracedTransport` records the span that
OpenTelemetry's instrumentation of httpx records by default, at a fifth of its CPU; a test compares
them. The instrumentation is used when one of its variables asks for something else.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import httpx
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.instrumentation.utils import http_status_to_status_code
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.propagate import inject
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    set_span_in_context,
)
from opentelemetry.util.http import redact_url, sanitize_method

_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate", b"baggage"})
_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
# Variables of the instrumentation that change its spans; see also _OPT_IN.
_VARIABLES = (
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE",
    "OTEL_PYTHON_HTTPX_EXCLUDED_URLS",
    "OTEL_PYTHON_EXCLUDED_URLS",
)


def trace_requests(
    transport: httpx.AsyncBaseTransport,
    provider: TracerProvider,
    tracer: Tracer,
    hosts: frozenset[str],
) -> httpx.AsyncBaseTransport:
    """Return a transport that traces the requests it sends with `transport`.

    Hosts in `hosts`, as `host` or `host:port`, receive trace headers.
    """
    if not _needs_instrumentation(os.environ):
        return TracedTransport(transport, tracer, hosts)
    _opt_into_stable_names()
    # Our own metrics measure upstream calls, per model; no reader is set for OpenTelemetry metrics.
    return AsyncOpenTelemetryTransport(
        TraceparentGuard(transport, hosts),
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
    )


class _Target(NamedTuple):
    """The properties of a request that are known before it is sent."""

    span_name: str
    names: frozenset[str]  # the host, alone and with its port
    attributes: Mapping[str, str | int]


class TracedTransport(httpx.AsyncBaseTransport):
    """A transport that creates the CLIENT span of each request."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport, tracer: Tracer, hosts: frozenset[str]
    ) -> None:
        self._transport = transport
        self._tracer = tracer
        self._hosts = hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request below the current span."""
        target = _describe(request.method, str(request.url))
        span = self._tracer.start_span(
            target.span_name, kind=SpanKind.CLIENT, attributes=target.attributes
        )
        if not self._hosts.isdisjoint(target.names):
            inject(request.headers, set_span_in_context(span))
        try:
            response = await self._transport.handle_async_request(request)
            if span.is_recording():
                _record_response(span, response)
            return response
        except Exception as error:
            span.set_attribute(error_attributes.ERROR_TYPE, type(error).__qualname__)
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
            raise
        finally:
            span.end()

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._transport.aclose()


@lru_cache(maxsize=256)
def _describe(method: str, address: str) -> _Target:
    url, known_method = httpx.URL(address), sanitize_method(method)
    attributes: dict[str, str | int] = {http_attributes.HTTP_REQUEST_METHOD: known_method}
    if known_method != method:
        attributes[http_attributes.HTTP_REQUEST_METHOD_ORIGINAL] = method
    attributes[url_attributes.URL_FULL] = redact_url(address)
    if url.host:
        attributes[server_attributes.SERVER_ADDRESS] = url.host
        attributes[network_attributes.NETWORK_PEER_ADDRESS] = url.host
    if url.port:
        attributes[server_attributes.SERVER_PORT] = url.port
        attributes[network_attributes.NETWORK_PEER_PORT] = url.port
    return _Target(
        "HTTP" if known_method == "_OTHER" else known_method, _list_names(url), attributes
    )


def _record_response(span: Span, response: httpx.Response) -> None:
    attributes: dict[str, str | int] = {
        http_attributes.HTTP_RESPONSE_STATUS_CODE: response.status_code,
        network_attributes.NETWORK_PROTOCOL_VERSION: response.http_version.removeprefix("HTTP/"),
    }
    if http_status_to_status_code(response.status_code) is StatusCode.ERROR:
        attributes[error_attributes.ERROR_TYPE] = str(response.status_code)
        span.set_status(Status(StatusCode.ERROR))
    span.set_attributes(attributes)


def _list_names(url: httpx.URL) -> frozenset[str]:
    port = url.port or (443 if url.scheme == "https" else 80)
    return frozenset({url.host, f"{url.host}:{port}"})


class TraceparentGuard(httpx.AsyncBaseTransport):
    """A transport below the instrumentation that passes trace headers to the allowed hosts only."""

    def __init__(self, transport: httpx.AsyncBaseTransport, hosts: frozenset[str]) -> None:
        self._transport = transport
        self._hosts = hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; remove its trace headers unless its host or host:port is allowed."""
        if self._hosts.isdisjoint(_list_names(request.url)):
            # Intersect first: a look-up by name in httpx.Headers is slow.
            for name in _TRACE_HEADERS.intersection(key.lower() for key, _ in request.headers.raw):
                del request.headers[name.decode()]
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._transport.aclose()


def _needs_instrumentation(env: Mapping[str, str]) -> bool:
    """Return whether a variable asks for other spans than those with the stable names."""
    is_asked = any(env.get(name, "").strip() for name in _VARIABLES)
    return is_asked or "http/dup" in _read_opt_in(env)


def _opt_into_stable_names() -> None:
    """Select the stable HTTP attribute names; the instrumentation's default is the old ones."""
    chosen = _read_opt_in(os.environ)
    if not {"http", "http/dup"} & set(chosen):
        os.environ[_OPT_IN] = ",".join([*chosen, "http"])


def _read_opt_in(env: Mapping[str, str]) -> list[str]:
    return [part.strip() for part in env.get(_OPT_IN, "").split(",") if part.strip()]
