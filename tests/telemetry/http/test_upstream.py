"""Upstream requests: a span below the chat span, and trace headers for allowed hosts only."""

import httpx
import pytest

from telemetry import Telemetry
from tests._support.telemetry.capture import Capture, capturing, start
from tests._support.telemetry.sample_runs import chat_of

URL = "https://api.example.com/v1/chat?key=1"


class Upstream:
    """A transport that stores the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200)


async def ask(telemetry: Telemetry, url: str = URL) -> httpx.Request:
    upstream = Upstream()
    async with upstream.client() as client:
        telemetry.instrument(client)
        telemetry.instrument(client)  # a second call changes nothing
        run = start(telemetry)
        chat = chat_of(run)
        with chat.activate():
            await client.post(url, headers={"x-mine": "1"})
        chat.finish()
        run.finish("completed")
    (request,) = upstream.requests
    return request


async def test_the_request_is_a_span_below_its_chat(capture: Capture) -> None:
    await ask(capture.telemetry)
    post = capture.span("POST")
    attributes = post.attributes or {}
    assert capture.parent_name(post) == "chat gpt-4o-mini"
    assert attributes["http.request.method"] == "POST"
    assert attributes["http.response.status_code"] == 200
    assert attributes["server.address"] == "api.example.com"


async def test_a_host_outside_the_list_gets_no_trace_header(capture: Capture) -> None:
    request = await ask(capture.telemetry)
    assert not {"traceparent", "tracestate", "baggage"} & set(request.headers)
    assert request.headers["x-mine"] == "1"


@pytest.mark.parametrize("host", ["api.example.com", "api.example.com:443"])
async def test_a_listed_host_gets_the_trace_headers(host: str) -> None:
    captured = capturing(traceparent_hosts=frozenset({host}))
    request = await ask(captured.telemetry)
    context = captured.span("POST").context
    assert context is not None
    assert format(context.trace_id, "032x") in request.headers["traceparent"]


async def test_a_listed_port_does_not_allow_other_ports() -> None:
    captured = capturing(traceparent_hosts=frozenset({"api.example.com:8443"}))
    assert "traceparent" not in (await ask(captured.telemetry)).headers


async def test_the_client_stays_unchanged_without_an_exporter(quiet: Telemetry) -> None:
    client = httpx.AsyncClient()
    before = client._transport
    quiet.instrument(client)
    assert client._transport is before
    assert "traceparent" not in (await ask(quiet)).headers
    await client.aclose()


async def test_an_unsampled_run_exports_no_http_span(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capturing()
    upstream = Upstream()
    async with upstream.client() as client:
        captured.telemetry.instrument(client)
        monkeypatch.setattr(captured.telemetry._recorder.tracer, "sampler", _Never())
        chat = chat_of(start(captured.telemetry))
        with chat.activate():
            await client.get(URL)
        chat.finish()
    assert captured.spans == []


class _Never:
    """A sampler for the run's tracer only; the HTTP client's follows its parent."""

    def should_sample(self, *_args: object, **_kwargs: object) -> object:
        from opentelemetry.sdk.trace.sampling import Decision, SamplingResult

        return SamplingResult(Decision.DROP)
