"""Upstream requests: a span below the chat span, and trace headers for allowed hosts only."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.sdk.trace import Event, ReadableSpan

from telemetry import Telemetry
from telemetry.http.upstream import TracedTransport
from tests._support.telemetry.capture import Capture, capturing, start
from tests._support.telemetry.sample_runs import chat_of

URL = "https://api.example.com/v1/chat?key=1"
# A variable of the instrumentation, with which it traces the requests instead of TracedTransport.
VARIABLE = "OTEL_PYTHON_EXCLUDED_URLS"


class Upstream:
    """A transport that stores the requests, and answers with the status in the path."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        last = request.url.path.rpartition("/")[2]
        if last == "refuse":
            raise httpx.ConnectError("refused", request=request)
        if last == "cancel":
            raise asyncio.CancelledError
        return httpx.Response(int(last) if last.isdecimal() else 200)


async def ask(telemetry: Telemetry, url: str = URL, method: str = "POST") -> httpx.Request:
    upstream = Upstream()
    run = start(telemetry)
    chat = chat_of(run)
    request = httpx.Request(method, url, headers={"x-mine": "1"})
    with chat.activate(), suppress(httpx.ConnectError, asyncio.CancelledError):
        await telemetry.trace_requests(upstream.transport).handle_async_request(request)
    chat.finish()
    run.finish("completed")
    (received,) = upstream.requests
    return received


async def test_the_request_is_a_span_below_its_chat(capture: Capture) -> None:
    await ask(capture.telemetry)
    post = capture.span("POST")
    attributes = post.attributes or {}
    assert capture.parent_name(post) == "chat gpt-4o-mini"
    assert attributes["http.request.method"] == "POST"
    assert attributes["http.response.status_code"] == 200
    assert attributes["server.address"] == "api.example.com"


# --- the same as the instrumentation ---


def what_was_recorded(span: ReadableSpan) -> dict[str, Any]:
    """Return the parts of a span that do not differ between two equal requests."""

    def describe(event: Event) -> tuple[str, dict[str, Any]]:
        attributes = dict(event.attributes or {})
        attributes.pop("exception.stacktrace", None)
        return event.name, attributes

    return {
        "name": span.name,
        "kind": span.kind,
        "attributes": dict(span.attributes or {}),
        "status": (span.status.status_code, span.status.description),
        "events": [describe(each) for each in span.events],
        "links": list(span.links),
    }


def find_client_span(captured: Capture) -> ReadableSpan:
    """Return the span of the request, the only child of the chat's span."""
    chat = captured.span("chat gpt-4o-mini")
    assert chat.context is not None
    (found,) = [
        span
        for span in captured.spans
        if span.parent and span.parent.span_id == chat.context.span_id
    ]
    return found


@pytest.mark.parametrize("method", ["POST", "GET", "BREW"])
@pytest.mark.parametrize(
    "url",
    [
        *(f"https://api.example.com/v1/{status}" for status in (200, 204, 302, 400, 429, 503)),
        "https://api.example.com/v1/refuse",
        "https://api.example.com/v1/cancel",
        "http://10.0.0.1:8000/v1/200",
        "http://[::1]:8000/v1/429",
        "https://api.example.com:443/v1/200",
        "https://user:hidden@api.example.com/v1/200?api-version=1&sig=hidden",
        "https://bücher.example/v1/200",
    ],
)
async def test_the_span_is_that_of_the_instrumentation(
    url: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = capturing(), capturing()
    await ask(ours.telemetry, url, method)
    monkeypatch.setenv(VARIABLE, "never.example")
    await ask(theirs.telemetry, url, method)
    recorded = [what_was_recorded(find_client_span(each)) for each in (ours, theirs)]
    assert recorded[0] == recorded[1]


@pytest.mark.parametrize(
    ("name", "value", "is_instrumented"),
    [
        (VARIABLE, "never.example", True),
        (VARIABLE, " ", False),
        ("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", "x", True),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", ".*", True),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE", "x-request-id", True),
        ("OTEL_SEMCONV_STABILITY_OPT_IN", "database, http/dup", True),
        ("OTEL_SEMCONV_STABILITY_OPT_IN", "http", False),
        ("OTEL_SERVICE_NAME", "x", False),
    ],
)
def test_the_instrumentation_is_used_when_a_variable_changes_its_spans(
    name: str, value: str, is_instrumented: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "")
    monkeypatch.setenv(name, value)
    traced = capturing().telemetry.trace_requests(Upstream().transport)
    assert type(traced) is (AsyncOpenTelemetryTransport if is_instrumented else TracedTransport)


async def test_the_instrumentation_records_the_headers_that_its_variable_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", "x-mine")
    captured = capturing()
    await ask(captured.telemetry)
    assert (captured.span("POST").attributes or {})["http.request.header.x_mine"] == ("1",)


# --- trace headers ---


@pytest.fixture(params=["ours", "instrumentation"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace by TracedTransport, then by the instrumentation."""
    if request.param == "instrumentation":
        monkeypatch.setenv(VARIABLE, "never.example")


@pytest.mark.usefixtures("either")
async def test_a_host_outside_the_list_gets_no_trace_header() -> None:
    request = await ask(capturing(traceparent_hosts=frozenset({"other.example"})).telemetry)
    assert not {"traceparent", "tracestate", "baggage"} & set(request.headers)
    assert request.headers["x-mine"] == "1"


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("host", ["api.example.com", "api.example.com:443"])
async def test_a_listed_host_gets_the_trace_headers(host: str) -> None:
    captured = capturing(traceparent_hosts=frozenset({host}))
    request = await ask(captured.telemetry)
    context = captured.span("POST").context
    assert context is not None
    assert format(context.trace_id, "032x") in request.headers["traceparent"]
    assert format(context.span_id, "016x") in request.headers["traceparent"]


@pytest.mark.usefixtures("either")
async def test_a_listed_port_does_not_allow_other_ports() -> None:
    captured = capturing(traceparent_hosts=frozenset({"api.example.com:8443"}))
    assert "traceparent" not in (await ask(captured.telemetry)).headers


async def test_the_transport_stays_unchanged_without_an_exporter(quiet: Telemetry) -> None:
    transport = Upstream().transport
    assert quiet.trace_requests(transport) is transport
    assert "traceparent" not in (await ask(quiet)).headers


@pytest.mark.usefixtures("either")
async def test_closing_closes_the_transport_below() -> None:
    closed: list[bool] = []

    class Closing(httpx.AsyncBaseTransport):
        async def aclose(self) -> None:
            closed.append(True)

    async with capturing().telemetry.trace_requests(Closing()):
        pass
    assert closed == [True]


async def test_an_unsampled_run_exports_no_http_span(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capturing()
    monkeypatch.setattr(captured.telemetry._recorder.tracer, "sampler", _Never())
    await ask(captured.telemetry)
    assert captured.spans == []


class _Never:
    """A sampler that records nothing."""

    def should_sample(self, *_args: object, **_kwargs: object) -> object:
        from opentelemetry.sdk.trace.sampling import Decision, SamplingResult

        return SamplingResult(Decision.DROP)
