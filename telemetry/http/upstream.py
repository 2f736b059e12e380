"""Tracing of the upstream HTTP client, with trace headers only for allowed hosts.

The instrumentation creates a CLIENT span per request (until the response headers) and adds
`traceparent` to every request. The guard, a transport below it, removes the trace headers again
for hosts that are not allowed to receive them.
"""

import os

import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider

_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate", b"baggage"})
_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"


class TraceparentGuard(httpx.AsyncBaseTransport):
    """A transport that passes trace headers to the allowed hosts only."""

    def __init__(self, transport: httpx.AsyncBaseTransport, hosts: frozenset[str]) -> None:
        self._transport = transport
        self._hosts = hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; remove its trace headers unless its host or host:port is allowed."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        if url.host not in self._hosts and f"{url.host}:{port}" not in self._hosts:
            # Intersect first: a look-up by name in httpx.Headers is slow.
            for name in _TRACE_HEADERS.intersection(key.lower() for key, _ in request.headers.raw):
                del request.headers[name.decode()]
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._transport.aclose()


def instrument(client: httpx.AsyncClient, provider: TracerProvider, hosts: frozenset[str]) -> None:
    """Trace every request of `client`; a second call for the same client changes nothing."""
    if isinstance(client._transport, TraceparentGuard):  # noqa: SLF001 - httpx has no public API for it
        return
    client._transport = TraceparentGuard(client._transport, hosts)  # noqa: SLF001
    for pattern, transport in client._mounts.items():  # noqa: SLF001
        if transport is not None:
            client._mounts[pattern] = TraceparentGuard(transport, hosts)  # noqa: SLF001
    _opt_into_stable_names()
    # Our own metrics measure upstream calls, per model; no reader is set for OpenTelemetry metrics.
    HTTPXClientInstrumentor.instrument_client(
        client, tracer_provider=provider, meter_provider=NoOpMeterProvider()
    )


def _opt_into_stable_names() -> None:
    """Select the stable HTTP attribute names; the instrumentation's default is the old ones."""
    chosen = [part for part in os.environ.get(_OPT_IN, "").split(",") if part.strip()]
    if not any(part.strip() in {"http", "http/dup"} for part in chosen):
        os.environ[_OPT_IN] = ",".join([*chosen, "http"])
