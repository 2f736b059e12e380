"""Connections that are read in frames while the process is busy, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from aiohttp import StreamReader

from service.coalescing import CoalescingWindow
from service.errors import UpstreamBroken
from service.llm.body_reader import BodyReader
from service.llm.transport import UpstreamTransport
from tests._support.llm.scripted import (
    DONE,
    Received,
    a_call,
    call_model,
    chunk,
    raw_server,
)
from tests._support.servers.certificates import make_certificate

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]
TOKENS = 200
TEXT = "".join(f" w{number}" for number in range(TOKENS))


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _tokens(start: int = 0, end: int = TOKENS) -> list[bytes]:
    return [_http_chunk(chunk(f" w{number}")) for number in range(start, end)]


async def _send_paced(writer: asyncio.StreamWriter, blocks: list[bytes]) -> None:
    for block in blocks:
        writer.write(block)
        await asyncio.sleep(0.001)


async def _send_answer(writer: asyncio.StreamWriter) -> None:
    await _send_paced(writer, _tokens())
    writer.write(_http_chunk(chunk(finish="stop")) + _http_chunk(DONE) + LAST)


@asynccontextmanager
async def _server(send: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        await send(writer)
        await reader.read()

    async with raw_server(serve, tls) as url:
        yield url


class BusyWindow(CoalescingWindow):
    """The window of a busy process. `held` counts the connections that were read in frames."""

    def __init__(self) -> None:
        super().__init__()
        self.is_active = True
        self.held = 0

    def add(self, source: object) -> None:
        self.held += 1
        super().add(source)  # type: ignore[arg-type]

    @property
    def is_empty(self) -> bool:
        return not self._sources


async def _call(
    send: Serve,
    *,
    watched: bool = True,
    window: BusyWindow | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[Received, BusyWindow]:
    window, received = window or BusyWindow(), Received()
    async with _server(send, tls) as url:
        call = a_call(base_url=url, watched=watched)
        await call_model(UpstreamTransport(), call, received=received, coalescing=window)
    assert window.is_empty
    return received, window


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_it(work: Awaitable[None]) -> None:
        async def await_it() -> None:
            await work

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(await_it())

    return run_it


Run = Callable[[Awaitable[None]], None]


@pytest.mark.parametrize("watched", [True, False])
def test_a_fast_stream_is_read_in_frames(run: Run, watched: bool) -> None:
    async def work() -> None:
        received, window = await _call(_send_answer, watched=watched)
        assert (received.text, received.reply.done) == (TEXT, True)
        assert window.held
        assert len(received.pieces) < TOKENS / 2
        assert received.pieces[0] == " w0"  # the first token did not wait

    run(work())


def test_a_stream_that_no_client_sees_is_read_in_fewer_pieces(run: Run) -> None:
    async def work() -> None:
        watched, _ = await _call(_send_answer)
        unwatched, _ = await _call(_send_answer, watched=False)
        assert len(unwatched.pieces) < len(watched.pieces)

    run(work())


@pytest.mark.parametrize("watched", [True, False])
def test_an_encrypted_stream_is_read_in_frames(
    run: Run, watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    async def work() -> None:
        received, window = await _call(_send_answer, watched=watched, tls=tls)
        assert (received.text, received.reply.done) == (TEXT, True)
        assert window.held
        assert len(received.pieces) < TOKENS / 2

    run(work())


def test_a_slow_stream_is_not_read_in_frames(run: Run) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        for block in _tokens(0, 10):
            writer.write(block)
            await asyncio.sleep(0.03)
        writer.write(_http_chunk(chunk(finish="stop")) + _http_chunk(DONE) + LAST)

    async def work() -> None:
        received, window = await _call(send)
        assert len(received.pieces) == 10
        assert window.held <= 1  # a busy machine may have delivered two at once

    run(work())


def test_a_stream_that_becomes_silent_delivers_its_last_token_without_an_end(run: Run) -> None:
    last = asyncio.Event()

    async def send(writer: asyncio.StreamWriter) -> None:
        await _send_paced(writer, _tokens(0, 50))
        await last.wait()  # set once the token has arrived: the test would never end otherwise
        await _send_paced(writer, [*_tokens(50), _http_chunk(DONE), LAST])

    class Watching(Received):
        async def on_text(self, piece: object) -> None:
            await super().on_text(piece)  # type: ignore[arg-type]
            if self.text.endswith(" w49"):
                last.set()

    async def work() -> None:
        for watched in (True, False):
            last.clear()
            window, received = BusyWindow(), Watching()
            async with _server(send) as url:
                call = a_call(base_url=url, watched=watched)
                await call_model(UpstreamTransport(), call, received=received, coalescing=window)
            assert (received.text, window.is_empty) == (TEXT, True)

    run(work())


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_connection_that_is_lost_is_reported_with_the_text_so_far(
    run: Run, is_reset: bool
) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        await _send_paced(writer, _tokens(0, 100))
        if is_reset:
            found: socket.socket = writer.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await asyncio.sleep(0.05)  # a reset discards what has not been read
        writer.close()

    async def work() -> None:
        window, received = BusyWindow(), Received()
        async with _server(send) as url:
            with pytest.raises(UpstreamBroken):
                await call_model(
                    UpstreamTransport(),
                    a_call(base_url=url),
                    received=received,
                    coalescing=window,
                )
        assert received.text == "".join(f" w{number}" for number in range(100))
        assert (window.held > 0, window.is_empty) == (True, True)

    run(work())


def test_a_caller_that_leaves_ends_the_frames_of_its_connection(run: Run) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            await _send_paced(writer, _tokens())

    async def work() -> None:
        window, received = BusyWindow(), Received()
        async with _server(send) as url:
            call = call_model(
                UpstreamTransport(), a_call(base_url=url), received=received, coalescing=window
            )
            task = asyncio.create_task(call)
            while len(received.pieces) < 20:
                await asyncio.sleep(0.01)
            assert not window.is_empty
            task.cancel()
            await asyncio.wait([task])
            assert window.is_empty

    run(work())


def test_frames_end_with_the_load(run: Run) -> None:
    window = BusyWindow()

    async def send(writer: asyncio.StreamWriter) -> None:
        await _send_paced(writer, _tokens(0, 100))
        window.is_active = False
        await asyncio.sleep(0.05)
        for block in _tokens(100, 120):
            writer.write(block)
            await asyncio.sleep(0.02)
        writer.write(_http_chunk(DONE) + LAST)

    async def work() -> None:
        received, _ = await _call(send, window=window)
        assert received.pieces[-20:] == [f" w{number}" for number in range(100, 120)]

    run(work())


def test_more_data_than_is_gathered_is_read_in_order(run: Run) -> None:
    texts = [f" {number}" + "x" * 5_000 for number in range(100)]

    async def send(writer: asyncio.StreamWriter) -> None:
        await _send_paced(writer, _tokens(0, 20))
        for text in texts:
            writer.write(_http_chunk(chunk(text)))
        await writer.drain()
        writer.write(_http_chunk(chunk(finish="stop")) + _http_chunk(DONE) + LAST)

    async def work() -> None:
        for watched in (True, False):
            received, _ = await _call(send, watched=watched)
            start = "".join(f" w{number}" for number in range(20))
            assert received.text == start + "".join(texts)

    run(work())


async def test_the_reader_of_a_body_has_the_layout_of_that_of_aiohttp() -> None:
    """A new version of aiohttp may have a reader with a class that cannot be changed."""
    reader = StreamReader.__new__(StreamReader)
    BodyReader.adopt(reader)
    assert isinstance(reader, BodyReader)
    names = ("_size", "_high_water", "_buffer", "_waiter", "_eof", "_exception", "_protocol")
    assert set(names) <= set(StreamReader.__slots__)
