"""Responses over real sockets that exceed a limit or violate HTTP, and responses at the limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpx
import pytest
import uvloop

from service.errors import BadStream, UpstreamError, UpstreamRefused, UpstreamTimeout
from service.llm.connection import MAX_FRAMING_BYTES, MAX_HEAD_BYTES, UpstreamConnection
from service.llm.transport import UpstreamTransport
from tests._support.garbage import Garbage, collecting
from tests._support.llm.scripted import (
    DONE,
    Received,
    a_call,
    call_model,
    chunk,
    raw_server,
    until,
)

OK = b"HTTP/1.1 200 OK\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ANSWER = chunk("Hi") + chunk(finish="stop") + DONE


def _http_chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def _document(text: str) -> bytes:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    head = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return OK + head + body


async def _call(blocks: Iterable[bytes], **changes: Any) -> Received:
    """Call a server that sends `blocks` until the client leaves, then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            for block in blocks:
                writer.write(block)
                await writer.drain()
        except ConnectionError:
            return

    async with raw_server(serve) as url:
        return await call_model(UpstreamTransport(), a_call(base_url=url, **changes))


def _flood(start: bytes, unit: bytes, total_bytes: int = 64_000_000) -> Iterable[bytes]:
    """Yield `start` and then repetitions of `unit` in blocks of about 64 KB."""
    yield start
    block = unit * (65_536 // len(unit) + 1)
    for _ in range(total_bytes // len(block)):
        yield block


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
async def test_a_flood_of_interim_responses_is_refused(status: bytes) -> None:
    with pytest.raises(BadStream, match="head"):
        await _call(_flood(b"", b"HTTP/1.1 " + status + b"\r\n\r\n"))


async def test_interim_responses_before_an_answer_are_skipped() -> None:
    received = await _call([CONTINUE * 9, STREAM + _http_chunk(ANSWER), b"0\r\n\r\n"])
    assert received.text == "Hi"


async def test_interim_responses_do_not_delay_a_deadline() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(CONTINUE)
                await writer.drain()
                await asyncio.sleep(0.005)
        except ConnectionError:
            return

    async with raw_server(serve) as url:
        with pytest.raises(UpstreamTimeout, match="sent no token within"):
            await call_model(UpstreamTransport(), a_call(base_url=url, first_token_timeout_s=0.1))


@pytest.mark.parametrize(
    "head",
    [b"", OK, OK + b"X-Filler: ", b"HTTP/1.1 200 "],
    ids=["blank-lines", "headers", "one-header", "reason"],
)
async def test_a_head_without_an_end_is_refused(head: bytes) -> None:
    unit = {b"": b"\r\n", OK: b"X-Filler: a\r\n"}.get(head, b"a")
    with pytest.raises(BadStream):
        await _call(_flood(head, unit))


@pytest.mark.parametrize(
    ("start", "unit"),
    [(b"5;x=", b"a"), (b"", _http_chunk(b":", b";x=" + b"a" * 1000))],
    ids=["one-extension", "many-extensions"],
)
async def test_extensions_of_chunks_are_limited(start: bytes, unit: bytes) -> None:
    with pytest.raises(BadStream, match="around its body"):
        await _call(_flood(STREAM + start, unit))


async def test_an_answer_with_a_byte_in_each_chunk_is_read() -> None:
    chunks = b"".join(_http_chunk(bytes([byte])) for byte in ANSWER)
    assert (await _call([STREAM + chunks, b"0\r\n\r\n"])).text == "Hi"


async def test_endless_trailers_are_refused() -> None:
    start = STREAM + _http_chunk(chunk("Hi")) + b"0\r\n"
    with pytest.raises(UpstreamError):
        await _call(_flood(start, b"X-Trailer: a\r\n"))


async def test_a_chunk_that_violates_http_fails_the_answer_at_once() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM + _http_chunk(chunk("Hi")))
        await writer.drain()
        await until(lambda: bool(received.text))
        writer.write(b"not a size\r\n")

    received = Received()
    async with raw_server(serve) as url:
        with pytest.raises(BadStream, match="not valid HTTP"):
            await call_model(
                UpstreamTransport(),
                a_call(base_url=url, idle_timeout_s=60, timeout_s=60),
                received=received,
            )


async def test_responses_after_a_response_do_not_change_the_answer() -> None:
    flood = _flood(_document("Hi"), OK + b"Content-Length: 0\r\n\r\n")
    assert (await _call(flood, stream=False)).text == "Hi"


async def test_a_switch_of_protocols_is_refused() -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    with pytest.raises(UpstreamRefused, match="101"):
        await _call(_flood(head, b"a"))


async def test_a_server_that_does_not_read_a_long_request_is_left_at_the_deadline() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport
        await asyncio.sleep(0.5)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        closed.set()

    async with raw_server(serve) as url:
        call = a_call(base_url=url, first_token_timeout_s=0.1, options={"x": "a" * 32_000_000})
        with pytest.raises(UpstreamTimeout, match="sent no token within"):
            await call_model(UpstreamTransport(), call)
        await asyncio.wait_for(closed.wait(), 5)


def test_a_request_that_is_cancelled_while_it_connects_leaves_no_connection_in_memory() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()

    async def cancel_after(steps: int, url: str) -> None:
        async with UpstreamTransport() as transport:  # without a connection from an earlier request
            sent = asyncio.create_task(transport.handle_async_request(httpx.Request("GET", url)))
            for _ in range(steps):
                await asyncio.sleep(0)
            sent.cancel()
            await asyncio.wait([sent])

    async def collect() -> Garbage:
        async with raw_server(serve) as url:
            await cancel_after(9, url)  # fills caches
            with collecting() as garbage:
                for steps in [*range(3, 9)] * 4:
                    await cancel_after(steps, url)
        return garbage

    assert uvloop.run(collect()).ours == {}


async def test_a_connection_that_is_closed_before_its_response_is_read_leaves_memory() -> None:
    with collecting() as garbage:
        connection = UpstreamConnection(asyncio.get_running_loop())
        connection.connection_made(asyncio.Transport())
        connection.set_response_params()
        connection.data_received(STREAM)
        connection.transport = None
        connection.close()
        connection.connection_lost(None)
        del connection
    assert garbage.ours == {}


def test_the_limits_leave_room_for_real_responses() -> None:
    assert MAX_HEAD_BYTES > 128 * 1024
    assert MAX_FRAMING_BYTES > 6 * 1_000_000  # a million tokens, each with its chunk
