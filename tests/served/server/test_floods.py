"""Clients that flood the service with frames, beside a stream of 50 events per second."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingAckReceived, ResponseReceived, StreamEnded
from h2.exceptions import StreamClosedError

from tests._support.clients.api import Api, client_of, connected, exchange, follow, head
from tests._support.clients.floods import (
    HTTP2_FLOODS,
    UNLIMITED_FLOODS,
    WEB_SOCKET_FLOODS,
    Flood,
    close_code,
    goaway_code,
    http2_frame,
    send_flood,
    web_socket_frame,
)
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

FLOODS = {**WEB_SOCKET_FLOODS, **HTTP2_FLOODS, **UNLIMITED_FLOODS}
WINDOW_S = 1.0
WINDOWS = 4  # of which one must be undisturbed: other programs also use the machine
POLICY_VIOLATION = 1008
_TURNS = [{"role": "user", "content": "a"}] * 5000
LARGE_BODIES = 40  # that arrive together, again and again


class Watch:
    """The events of a stream and the answers of /health/live, counted as they arrive."""

    def __init__(self) -> None:
        self.events = self.answers = 0

    async def follow_stream(self, api: Api) -> None:
        async with api.asked(ensemble="ticking") as response:
            async for _ in follow(response):
                self.events += 1

    async def ask_health(self, url: str) -> None:
        async with client_of(url) as api:
            while True:
                assert (await api.http.get("/health/live")).status_code == 200
                self.answers += 1
                await asyncio.sleep(0.05)

    async def wait(self) -> int:
        """Wait for one window and return its events; 0 if /health/live did not answer."""
        events, answers = self.events, self.answers
        await asyncio.sleep(WINDOW_S)
        return self.events - events if self.answers > answers else 0


@asynccontextmanager
async def watched(service: Process) -> AsyncIterator[Watch]:
    watch = Watch()
    async with client_of(service.url) as api:
        tasks = [
            asyncio.create_task(watch.follow_stream(api)),
            asyncio.create_task(watch.ask_health(service.url)),
        ]
        try:
            yield watch
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def flood_again_and_again(port: int, flood: Flood) -> None:
    while True:
        await send_flood(port, flood)


@pytest.mark.parametrize("name", FLOODS)
async def test_a_stream_keeps_half_of_its_events_during_a_flood(
    service: Process, name: str
) -> None:
    async with watched(service) as watch:
        undisturbed = await watch.wait()
        flooding = [
            asyncio.create_task(flood_again_and_again(service.port, FLOODS[name])) for _ in range(2)
        ]
        counted = [0]
        while max(counted) < undisturbed / 2 and len(counted) <= WINDOWS:
            counted.append(await watch.wait())
        for task in flooding:
            task.cancel()
    assert undisturbed > 0
    assert max(counted) >= undisturbed / 2, f"{undisturbed} events alone, then {counted}"


async def post_again_and_again(port: int, request: bytes) -> None:
    while True:
        await exchange(port, request)


async def test_a_stream_continues_beside_large_bodies_that_arrive_together(
    service: Process,
) -> None:
    sent = json.dumps({"model": "solo", "input": _TURNS}).encode()
    lines = (f"Content-Length: {len(sent)}", "Connection: close")
    request = head(*lines, path="/v1/responses") + sent
    async with watched(service) as watch:
        undisturbed = await watch.wait()
        posting = [
            asyncio.create_task(post_again_and_again(service.port, request))
            for _ in range(LARGE_BODIES)
        ]
        await asyncio.sleep(WINDOW_S)  # until all of them have arrived
        counted = [0]
        while max(counted) < undisturbed / 3 and len(counted) <= WINDOWS:
            counted.append(await watch.wait())
        for task in posting:
            task.cancel()
        await asyncio.gather(*posting, return_exceptions=True)
    assert max(counted) >= undisturbed / 3, f"{undisturbed} events alone, then {counted}"


@pytest.mark.parametrize("name", WEB_SOCKET_FLOODS)
async def test_a_flood_of_frames_closes_its_socket_with_1008(service: Process, name: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        received = await send_flood(service.port, WEB_SOCKET_FLOODS[name])
    assert close_code(received) == POLICY_VIOLATION


@pytest.mark.parametrize("name", HTTP2_FLOODS)
async def test_a_flood_of_frames_ends_its_http_2_connection(service: Process, name: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        received = await send_flood(service.port, HTTP2_FLOODS[name])
    assert goaway_code(received) == ErrorCodes.ENHANCE_YOUR_CALM


async def test_endless_continuations_end_the_http_2_connection(service: Process) -> None:
    flood = Flood(
        HTTP2_FLOODS["PING"].opening + http2_frame(1, 0, 1, b"\x82"),
        lambda: iter(lambda: http2_frame(9, 0, 1), b""),
    )
    async with asyncio.timeout(PATIENCE_S):
        received = await send_flood(service.port, flood)
    assert goaway_code(received) == ErrorCodes.PROTOCOL_ERROR


async def test_a_frame_that_is_too_long_is_refused_before_it_has_arrived(service: Process) -> None:
    async with asyncio.timeout(PATIENCE_S), connected(service.port) as (reader, writer):
        writer.write(HTTP2_FLOODS["PING"].opening + b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 1000)
        assert goaway_code(await reader.read()) == ErrorCodes.FRAME_SIZE_ERROR


@pytest.mark.parametrize("name", ["rapid reset", "rapid reset of open requests"])
async def test_rapid_resets_are_logged_in_one_line_without_a_traceback(
    start: Start, name: str
) -> None:
    service = start()
    async with asyncio.timeout(PATIENCE_S):
        await send_flood(service.port, HTTP2_FLOODS[name])
    async with client_of(service.url) as api:
        assert (await api.http.get("/health/live")).status_code == 200
    lines = service.err.splitlines()
    assert sum("ENHANCE_YOUR_CALM" in line for line in lines) == 1
    assert not [line for line in lines if "Traceback" in line or '"level": "error"' in line.lower()]


async def test_data_behind_the_response_leaves_the_http_2_connection_open(
    service: Process,
) -> None:
    """The response to a body that is too long ends before the body; here after the linger."""
    headers = [
        *((":method", "POST"), (":path", "/nowhere"), (":scheme", "http")),
        *((":authority", "localhost"), ("content-type", "application/json")),
    ]
    async with asyncio.timeout(PATIENCE_S), connected(service.port) as (reader, writer):
        protocol = H2Connection()
        protocol.initiate_connection()
        protocol.send_headers(1, headers)
        writer.write(protocol.data_to_send())
        has_ended = is_answered = False
        while not has_ended:
            events = protocol.receive_data(await reader.read(65_536))
            has_ended = any(isinstance(event, StreamEnded) for event in events)
        protocol.send_data(1, b"x" * 100)
        protocol.ping(b"12345678")
        writer.write(protocol.data_to_send())
        while not is_answered and (block := await reader.read(65_536)):
            events = protocol.receive_data(block)
            is_answered = any(isinstance(event, PingAckReceived) for event in events)
        assert is_answered


async def test_a_websocket_client_may_ping_often_and_send_small_fragments(
    service: Process,
) -> None:
    question = b'{"messages": [{"role": "user", "content": "%b"}]}' % (b"x" * 400)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{service.url}/chat") as ws:
        for _ in range(60):
            await ws.ping()
            await ws.pong()
            await asyncio.sleep(0.01)
        for number in range(0, len(question), 1):
            opcode = aiohttp.WSMsgType.CONTINUATION if number else aiohttp.WSMsgType.TEXT
            is_last = number == len(question) - 1
            frame = bytes([opcode | is_last << 7, 0x81]) + bytes(4) + question[number : number + 1]
            assert ws._writer.transport is not None
            ws._writer.transport.write(frame)
        answer = [message.json() async for message in ws if await ended(ws, message)]
    assert answer[-1] == {"done": "true"}


async def ended(ws: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> bool:
    """Close the socket after the end of an answer; return True."""
    if "done" in message.json() or "error" in message.json():
        await ws.close()
    return True


async def test_an_http_2_client_may_update_its_windows_for_each_piece_of_a_download(
    service: Process,
) -> None:
    """As Go's client does: for the stream and for the connection."""
    headers = [
        *((":method", "POST"), (":path", "/api/process"), (":scheme", "http")),
        *((":authority", "localhost"), ("content-type", "application/json")),
    ]
    async with asyncio.timeout(PATIENCE_S), connected(service.port) as (reader, writer):
        protocol = H2Connection()
        protocol.initiate_connection()
        protocol.send_headers(1, headers)
        body = b'{"message": "Hi", "message_id": "1", "ensemble": "huge"}'
        protocol.send_data(1, body, end_stream=True)
        writer.write(protocol.data_to_send())
        has_ended, updates, last = False, 0, b""
        while not has_ended:
            for event in protocol.receive_data(await reader.read(65_536)):
                has_ended = has_ended or isinstance(event, StreamEnded)
                if isinstance(event, DataReceived):
                    last = (last + event.data)[-2_000:]
                    for part in split(event.flow_controlled_length or 0, 4_096):
                        protocol.increment_flow_control_window(part)
                        with suppress(StreamClosedError):
                            protocol.increment_flow_control_window(part, 1)
                        updates += 2
            writer.write(protocol.data_to_send())
    assert updates > 2_000
    assert b'"Completed"' in last


def split(size: int, part: int) -> list[int]:
    """Return the sizes of the parts of `size` bytes."""
    return [min(part, size - start) for start in range(0, size, part)]


async def test_an_http_2_client_may_cancel_a_hundred_requests_at_once(service: Process) -> None:
    async with client_of(service.url, http2=True, http1=False) as h2:
        asked = [asyncio.create_task(h2.ask(ensemble="endless")) for _ in range(60)]
        await asyncio.sleep(0.5)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert (await h2.http.get("/health/live")).status_code == 200


async def test_a_flooded_websocket_over_http_2_ends_its_stream_alone(service: Process) -> None:
    handshake = {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":path": "/chat",
        ":scheme": "http",
        ":authority": "localhost",
        "sec-websocket-version": "13",
    }
    async with asyncio.timeout(PATIENCE_S), connected(service.port) as (reader, writer):
        protocol = H2Connection()
        protocol.initiate_connection()
        writer.write(protocol.data_to_send())
        protocol.receive_data(await reader.readuntil(b"\0\0\0\4\1\0\0\0\0"))
        protocol.send_headers(1, [*handshake.items()])
        writer.write(protocol.data_to_send())
        received, has_ended, is_open = b"", False, False
        while not has_ended:
            for event in protocol.receive_data(await reader.read(65_536)):
                has_ended = has_ended or isinstance(event, StreamEnded)
                is_open = is_open or isinstance(event, ResponseReceived)
                received += event.data if isinstance(event, DataReceived) else b""
            if is_open and protocol.local_flow_control_window(1) > 6_000 and not has_ended:
                protocol.send_data(1, web_socket_frame(9) * 1_000)
            writer.write(protocol.data_to_send())
        assert close_code(received) == POLICY_VIOLATION
        protocol.ping(b"12345678")
        writer.write(protocol.data_to_send())
        is_answered = False
        while not is_answered and (block := await reader.read(65_536)):
            events = protocol.receive_data(block)
            is_answered = any(isinstance(event, PingAckReceived) for event in events)
        assert is_answered
