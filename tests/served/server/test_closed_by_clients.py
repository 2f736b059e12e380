"""Connections that clients close: the service closes its side at once, not after the idle time."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests._support.clients.api import client_of, connected, head, until
from tests._support.clients.floods import PREFACE, UPGRADE, http2_frame, web_socket_frame
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

# A fraction of the idle time of 75 s, for which such connections were retained.
SOON_S = 30.0
CONNECTIONS = 5
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER with a time of 0

HEALTH = head(method="GET", path="/health/live")
_BODY = b'{"message": "Hi", "message_id": "1", "ensemble": "endless"}'
ENDLESS = head(f"Content-Length: {len(_BODY)}") + _BODY
GET_FRAME = http2_frame(1, 5, 1, bytes.fromhex("8286") + b"\x04\x0c/health/live\x01\x09localhost")

# What a client has sent before it closes, and the end of what it has received by then.
CLOSES = {
    "right after connecting": (b"", b""),
    "after half a request line": (b"GET /hea", b""),
    "after half a head": (HEALTH[:-2], b""),
    "after half a body": (head("Content-Length: 1000") + b"{", b""),
    "right after the request": (HEALTH, b""),
    "after the response": (HEALTH, b'"ok"}\n'),
    "after two responses": (HEALTH + HEALTH, b'"ok"}\n'),
    "during a stream": (ENDLESS, b"agent.started"),
    "right after the question": (ENDLESS, b""),
    "a WebSocket, during its handshake": (UPGRADE, b""),
    "a WebSocket without a close frame": (UPGRADE, b"\r\n\r\n"),
    "a WebSocket in half a frame": (UPGRADE, b"\r\n\r\n"),
    "HTTP/2, after the preface": (PREFACE, b"\0\0\0\4\1\0\0\0\0"),
    "HTTP/2, after half the preface": (PREFACE[:20], b""),
    "HTTP/2, after a response": (PREFACE + GET_FRAME, b'"ok"}\n'),
    "HTTP/2, right after a request": (PREFACE + GET_FRAME, b""),
}


def close_wait(port: int) -> int:
    """Return the number of connections to `port` that only the client has closed."""
    lines = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return sum(fields[3] == "08" and fields[1].endswith(f":{port:04X}") for fields in lines)


async def open_connection(port: int, sent: bytes, received: bytes) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    if received:
        await reader.readuntil(received)
    if received and sent is UPGRADE:
        writer.write(web_socket_frame(1, b"x" * 100)[:50])
    return writer


@pytest.mark.parametrize("name", CLOSES)
@pytest.mark.parametrize("way", ["close", "shutdown"])
async def test_no_connection_remains_in_close_wait(service: Process, name: str, way: str) -> None:
    """A shutdown closes only the sending side, and the client reads on."""
    opened = [await open_connection(service.port, *CLOSES[name]) for _ in range(CONNECTIONS)]
    try:
        for writer in opened:
            writer.write_eof() if way == "shutdown" else writer.close()
        await asyncio.sleep(0.2)

        async def none_left() -> bool:
            return close_wait(service.port) == 0

        await until(none_left, SOON_S)
    finally:
        for writer in opened:
            writer.transport.abort()


async def test_connections_that_clients_reset_are_not_logged_as_errors(start: Start) -> None:
    service = start()
    for sent, received in CLOSES.values():
        for _ in range(CONNECTIONS):
            writer = await open_connection(service.port, sent, received)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
    async with client_of(service.url) as api:
        assert (await api.http.get("/health/live")).status_code == 200
    wrong = [line for line in service.err.splitlines() if "Traceback" in line or "ERROR" in line]
    assert not wrong


async def test_a_websocket_that_ignores_its_close_frame_is_closed(service: Process) -> None:
    """1009 for a message that is too long; the client does not answer it."""
    async with asyncio.timeout(SOON_S), connected(service.port) as (reader, writer):
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\xff" + (300_000).to_bytes(8) + bytes(4) + b"x" * 300_000)
        assert b"\x88\x02\x03\xf1" in await reader.read()


@pytest.mark.parametrize("path", ["/health", "/health/live", "/nowhere"])
async def test_a_client_that_closes_its_sending_side_gets_an_answer_that_is_ready(
    service: Process, path: str
) -> None:
    """As `nc -N` does."""
    async with asyncio.timeout(SOON_S), connected(service.port) as (reader, writer):
        writer.write(head(method="GET", path=path))
        writer.write_eof()
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 404 " if path == "/nowhere" else b"HTTP/1.1 200 ")
    assert response.endswith(b"}\n")
