"""The middleware around a real Quart application on a real Hypercorn socket."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from opentelemetry.trace import SpanKind
from quart import Quart, Response, request

from telemetry import current_request
from tests._support.telemetry.capture import Capture, capturing, start
from tests._support.telemetry.sample_runs import chat_of

CHUNKS = 5


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(CHUNKS):
        await asyncio.sleep(0.01)
        yield b"data: x\n\n"


async def endless() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0.005)
        yield b"data: x\n\n"


def application() -> Quart:
    app = Quart(__name__)

    @app.before_request
    def name_the_route() -> None:
        info = current_request()
        if info is not None and request.url_rule is not None:
            info.route = request.url_rule.rule

    @app.route("/stream/<name>", methods=["GET", "POST"])
    async def stream(name: str) -> Response:
        body = endless() if name == "endless" else chunks()
        return Response(body, content_type="text/event-stream")

    @app.get("/bug")
    async def bug() -> Response:
        raise LookupError

    return app


@pytest.fixture
def captured() -> Capture:
    return capturing(trust_traceparent=True, traceparent_hosts=frozenset({"127.0.0.1"}))


@pytest.fixture
async def address(captured: Capture) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = Config()
    settings.bind = [f"fd://{listener.detach()}"]  # already listening: no wait, no race for a port
    settings.graceful_timeout = 1
    settings.accesslog = settings.errorlog = None
    stop = asyncio.Event()
    app: ASGIFramework = captured.telemetry.middleware(application())
    server = asyncio.create_task(serve(app, settings, shutdown_trigger=stop.wait))
    yield f"http://127.0.0.1:{port}"
    stop.set()
    await server


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_stream_is_one_span_from_arrival_to_last_byte(
    captured: Capture, address: str
) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{address}/stream/short")
    await until(lambda: bool(captured.spans))
    span = captured.span("GET /stream/<name>")
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time >= CHUNKS * 0.01 * 1e9
    assert (span.attributes or {})["http.response.body.size"] == len(response.content) == 45
    assert response.headers["x-trace-id"] in response.headers["traceresponse"]


async def test_a_client_that_leaves_a_stream_is_seen(
    captured: Capture, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with (
            httpx.AsyncClient() as client,
            client.stream("GET", f"{address}/stream/endless") as response,
        ):
            await anext(response.aiter_raw())
        await until(lambda: bool(captured.spans))
    attributes = captured.span("GET /stream/<name>").attributes or {}
    assert attributes["app.client_disconnected"] is True
    assert "error.type" not in attributes
    assert "Failed to detach" not in caplog.text


async def test_a_client_that_reads_to_the_end_is_not_taken_for_one_that_left(
    captured: Capture, address: str
) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(20):
            await client.get(f"{address}/stream/short")
    await until(lambda: len(captured.spans) == 20)
    assert not [
        span for span in captured.spans if "app.client_disconnected" in (span.attributes or {})
    ]


@pytest.mark.parametrize(("path", "status"), [("/bug", 500), ("/nowhere", 404)])
async def test_errors_of_the_framework_carry_the_ids_too(
    address: str, path: str, status: int
) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(address + path, headers={"X-Request-ID": "mine"})
    assert response.status_code == status
    assert response.headers["x-request-id"] == "mine"
    assert "traceresponse" in response.headers


async def test_one_trace_spans_the_caller_the_wire_and_the_server(
    captured: Capture, address: str
) -> None:
    traced = captured.telemetry.trace_requests(AiohttpTransport())
    async with httpx.AsyncClient(transport=traced) as client:
        run = start(captured.telemetry)
        chat = chat_of(run)
        with chat.activate():
            answer = await client.send(
                client.build_request("POST", f"{address}/stream/short"), stream=True
            )
        async for _ in answer.aiter_raw():
            chat.record_first_chunk()
        chat.finish(chunks=CHUNKS)
        await answer.aclose()
    await until(lambda: len(captured.spans) == 3)
    (wire,) = [span for span in captured.spans if span.name == "POST"]
    server = captured.span("POST /stream/<name>")
    assert wire.kind is SpanKind.CLIENT
    assert captured.parent_name(wire) == "chat gpt-4o-mini"
    assert captured.parent_name(server) == "POST"
    # The wire span ends at the headers; the chat's covers the stream.
    spanned = captured.span("chat gpt-4o-mini")
    assert (spanned.end_time or 0) > (wire.end_time or 0)
