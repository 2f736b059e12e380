"""Parts of a body that are written to the connection directly, over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport
from quart import Quart, Response, request

from service.api.middleware.direct_body import BODY_WRITER, Write, find_body_writer
from service.api.middleware.lingering_close import LingeringClose
from service.api.middleware.send_timeout import SendTimeout
from tests._support.clients.api import answered, connected, exchange, head, take_response, until
from tests._support.clients.stalled_reader import connect_without_reading
from tests._support.patience import PATIENCE_S
from tests._support.servers.served_app import serving
from tests._support.telemetry.capture import Capture, capturing

PARTS = [b"a", b"b" * 15, b"c" * 16, b"d" * 4096, b"", b"\r\n0\r\n\r\n", b"e" * 70_000, b"f"]
BODY = b"".join(PARTS)
LARGE = b"x" * 65_536
CLOSE = "Connection: close"


@dataclass
class Streaming:
    """An app that streams PARTS, at `/sized` with a length; at `/long` 6 and `/endless` 64 MB."""

    direct: list[bytes] = field(default_factory=list)  # parts that the connection took
    messages: list[bytes] = field(default_factory=list)  # those that were sent as messages
    ended: list[str] = field(default_factory=list)  # paths of streams that ended

    def create(self) -> Quart:
        app = Quart(__name__)

        @app.get("/<path>")
        async def stream(path: str) -> Response:
            parts = {"long": [LARGE] * 100, "endless": [LARGE] * 1_000}.get(path, PARTS)
            response = Response(
                self._send(path, parts, find_body_writer(request.scope)),
                content_type="text/event-stream",
            )
            response.timeout = None
            if path == "sized":
                response.content_length = len(BODY)
            return response

        return app

    async def _send(self, path: str, parts: Sequence[bytes], write: Write) -> AsyncIterator[bytes]:
        try:
            for part in parts:
                if not write(part):
                    yield part
                await asyncio.sleep(0)
        finally:
            self.ended.append(path)

    def watch(self, app: Any) -> Any:
        """Return `app` with the parts noted that reach the server as messages or directly."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def note(message: Any) -> None:
                if message.get("body"):
                    self.messages.append(message["body"])
                await send(message)

            if write := scope.get("extensions", {}).get(BODY_WRITER):
                scope["extensions"][BODY_WRITER] = self._noting(write)
            await app(scope, receive, note)

        return watched

    def _noting(self, write: Write) -> Write:
        def noted(part: bytes) -> bool:
            taken = write(part)
            if taken:
                self.direct.append(part)
            return taken

        return noted


@pytest.fixture
def app() -> Streaming:
    return Streaming()


@pytest.fixture
def captured() -> Capture:
    return capturing()


@pytest.fixture
async def port(app: Streaming, captured: Capture) -> AsyncIterator[int]:
    inner = captured.telemetry.middleware(SendTimeout(app.create(), 1.0))
    async with serving(app.watch(LingeringClose(inner))) as served:
        yield served.port


def _request(path: str, *lines: str, method: str = "GET") -> bytes:
    return head(*lines, method=method, path=path)


async def test_every_part_of_a_stream_reaches_the_client_in_order(
    app: Streaming, port: int
) -> None:
    response = answered(await exchange(port, _request("/parts", CLOSE)))
    assert response.body == BODY
    # This is the purpose: the layers of the server have only the start and the end to handle. It
    # fails when a new Hypercorn or h11 no longer uses the classes that offer the writer.
    assert app.messages == []
    assert app.direct == [part for part in PARTS if part]


async def test_the_next_request_of_a_connection_has_a_writer_of_its_own(
    app: Streaming, port: int
) -> None:
    rest = await exchange(port, _request("/parts") * 3 + _request("/parts", CLOSE))
    for _ in range(4):
        response, rest = take_response(rest)
        assert response.body == BODY
    assert rest == b""
    assert len(app.direct) == 4 * sum(bool(part) for part in PARTS)


@pytest.mark.parametrize("path", ["/sized", "/parts"])
async def test_a_body_that_is_not_sent_in_chunks_has_no_chunks(
    app: Streaming, port: int, path: str
) -> None:
    version = b"1.0" if path == "/parts" else b"1.1"
    raw = await exchange(port, _request(path, CLOSE).replace(b"HTTP/1.1", b"HTTP/" + version))
    assert raw.partition(b"\r\n\r\n")[2] == BODY
    assert app.direct == []


async def test_head_of_a_stream_has_no_body(app: Streaming, port: int) -> None:
    raw = await exchange(port, _request("/parts", CLOSE, method="HEAD"))
    assert raw.endswith(b"\r\n\r\n")
    assert raw.count(b"\r\n\r\n") == 1
    assert app.direct == []


async def test_a_stream_over_http_2_uses_messages(app: Streaming, port: int) -> None:
    curl = await asyncio.create_subprocess_exec(
        "curl", "-sN", "--http2-prior-knowledge", f"http://127.0.0.1:{port}/parts",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    body, _ = await curl.communicate()
    assert body == BODY
    assert app.direct == []


async def test_a_client_that_stops_reading_ends_by_the_send_timeout(
    app: Streaming, port: int
) -> None:
    async with connect_without_reading(port, _request("/endless")):
        await until(lambda: _is(bool(app.ended)))
    taken = len(app.direct) + len(app.messages)
    assert 0 < taken < 200  # the buffers of the sockets are full after 6 MB
    assert len(app.messages) >= 1


async def test_a_slow_client_receives_everything(app: Streaming, port: int) -> None:
    async with asyncio.timeout(PATIENCE_S), connected(port, 65_536) as (reader, writer):
        writer.write(_request("/long", CLOSE))
        raw = bytearray()
        while data := await reader.read(65_536):
            raw += data
            await asyncio.sleep(0.001)
    assert answered(bytes(raw)).body == LARGE * 100
    assert app.direct
    assert app.messages


async def test_a_lost_client_ends_the_response(
    app: Streaming, port: int, captured: Capture
) -> None:
    async with connected(port) as (reader, writer):
        writer.write(_request("/endless"))
        await reader.read(1000)
        writer.transport.abort()
        await until(lambda: _is(bool(captured.spans)))
    attributes = captured.spans[0].attributes or {}
    assert attributes["app.client_disconnected"] is True
    assert app.ended == ["endless"]


async def test_the_span_and_the_access_line_count_all_bytes(
    port: int, captured: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "access"):
        response = answered(await exchange(port, _request("/parts", CLOSE)))
        await until(lambda: _is(bool(captured.spans)))
    attributes = captured.spans[0].attributes or {}
    assert attributes["http.response.body.size"] == len(response.body)
    (line,) = [record for record in caplog.records if record.name == "access"]
    assert vars(line)["bytes"] == len(response.body)


async def test_clients_of_another_author_read_the_chunks(port: int) -> None:
    for transport in (httpx.AsyncHTTPTransport(), AiohttpTransport()):
        async with httpx.AsyncClient(transport=transport) as client:
            response = await client.get(f"http://127.0.0.1:{port}/parts")
            assert response.content == BODY


async def _is(condition: bool) -> bool:
    return condition
