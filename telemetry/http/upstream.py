"""Traces of the upstream HTTP client, and a guard on what of a trace leaves the house.

The instrumentation makes a CLIENT span per request (to the headers) and adds `traceparent` to
every one; the guard sits below it and takes the headers off again for hosts that may not have them.
"""

import os

import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider

_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate", b"baggage"})
_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"


class TraceparentGuard(httpx.AsyncBaseTransport):
    """A transport that lets trace headers through to the allowed hosts only."""

    def __init__(self, transport: httpx.AsyncBaseTransport, hosts: frozenset[str]) -> None:
        self._transport = transport
        self._hosts = hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, without trace headers unless its host or host:port is allowed."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        if url.host not in self._hosts and f"{url.host}:{port}" not in self._hosts:
            # Which of them there are first: to ask for one is dear.
            for name in _TRACE_HEADERS.intersection(key.lower() for key, _ in request.headers.raw):
                del request.headers[name.decode()]
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._transport.aclose()


def instrument(client: httpx.AsyncClient, provider: TracerProvider, hosts: frozenset[str]) -> None:
    """Trace every request of `client`; a second call for the same client changes nothing."""
    if isinstance(client._transport, TraceparentGuard):  # noqa: SLF001 - httpx has no public way
        return
    client._transport = TraceparentGuard(client._transport, hosts)  # noqa: SLF001
    for pattern, transport in client._mounts.items():  # noqa: SLF001
        if transport is not None:
            client._mounts[pattern] = TraceparentGuard(transport, hosts)  # noqa: SLF001
    _opt_into_stable_names()
    # Metrics of upstream calls are ours, per model; the instrumentation's would go nowhere.
    HTTPXClientInstrumentor.instrument_client(
        client, tracer_provider=provider, meter_provider=NoOpMeterProvider()
    )


def _opt_into_stable_names() -> None:
    """Ask for the stable HTTP names; without it the instrumentation emits the old ones."""
    chosen = [part for part in os.environ.get(_OPT_IN, "").split(",") if part.strip()]
    if not any(part.strip() in {"http", "http/dup"} for part in chosen):
        os.environ[_OPT_IN] = ",".join([*chosen, "http"])
