"""Floods: clients that send frames which are cheap to send and costly to handle."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, repeat

from tests._support.clients.api import connected, head

# The flooded service must be busy for as long as the flood lasts.
BYTES_PER_S = 2_000_000
_BLOCK_BYTES = 32_768

UPGRADE = head(
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(b'0123456789abcdef').decode()}",
    method="GET",
    path="/chat",
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_HEAD = head(method="GET", path="/health/live")

# HPACK: indexed method, scheme http, and literals that are not added to the table.
_GET = bytes.fromhex("8286") + b"\x04\x0c/health/live" + b"\x01\x09localhost"
_POST = bytes.fromhex("8386") + b"\x04\x0c/api/process" + b"\x01\x09localhost"
_PING, _CANCEL, _WINDOW = b"12345678", struct.pack(">I", 8), struct.pack(">I", 1)
_WEIGHT = struct.pack(">IB", 0, 16)


def web_socket_frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return a frame with less than 126 bytes of payload, masked with zeros."""
    return bytes([opcode | final << 7, len(payload) | 0x80]) + bytes(4) + payload


def http2_frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


@dataclass(frozen=True)
class Flood:
    """The first bytes of a connection, then frames without end."""

    opening: bytes
    frames: Callable[[], Iterator[bytes]]


def _same(opening: bytes, frame: bytes, first: bytes = b"") -> Flood:
    return Flood(opening, lambda: chain([first], repeat(frame)))


_fragment = partial(web_socket_frame, final=False)


def _new_priorities() -> Iterator[bytes]:
    return (http2_frame(2, 0, stream, _WEIGHT) for stream in count(1, 2))


def _requests(headers: bytes) -> Iterator[bytes]:
    return (http2_frame(1, 5, stream, headers) for stream in count(1, 2))


def _resets(headers: bytes, flags: int) -> Iterator[bytes]:
    for stream in count(1, 2):
        yield http2_frame(1, flags, stream, headers) + http2_frame(3, 0, stream, _CANCEL)


WEB_SOCKET_FLOODS = {
    "pings": _same(UPGRADE, web_socket_frame(9)),
    "pings with a payload": _same(UPGRADE, web_socket_frame(9, b"x" * 60)),
    "pongs": _same(UPGRADE, web_socket_frame(10)),
    "text fragments": _same(UPGRADE, _fragment(0, b"x"), _fragment(1, b"x")),
    "binary fragments": _same(UPGRADE, _fragment(0, b"x"), _fragment(2, b"x")),
    "empty fragments": _same(UPGRADE, _fragment(0), _fragment(1)),
    "messages of one byte": _same(UPGRADE, web_socket_frame(1, b"x")),
    "empty messages": _same(UPGRADE, web_socket_frame(2)),
    "cancel messages": _same(UPGRADE, web_socket_frame(1, b'{"type": "cancel"}')),
}
HTTP2_FLOODS = {
    "SETTINGS": _same(PREFACE, http2_frame(4)),
    "SETTINGS with changes": _same(PREFACE, http2_frame(4, payload=struct.pack(">HI", 4, 9) * 9)),
    "PING": _same(PREFACE, http2_frame(6, payload=_PING)),
    "PING replies": _same(PREFACE, http2_frame(6, 1, payload=_PING)),
    "WINDOW_UPDATE": _same(PREFACE, http2_frame(8, payload=_WINDOW)),
    "PRIORITY of one stream": _same(PREFACE, http2_frame(2, 0, 1, _WEIGHT)),
    "PRIORITY of new streams": Flood(PREFACE, _new_priorities),
    "rapid reset": Flood(PREFACE, partial(_resets, _GET, 5)),
    "rapid reset of open requests": Flood(PREFACE, partial(_resets, _POST, 4)),
    "empty DATA": _same(PREFACE, http2_frame(0, 0, 1), http2_frame(1, 4, 1, _POST)),
    "padded DATA": _same(PREFACE, http2_frame(0, 8, 1, b"\0"), http2_frame(1, 4, 1, _POST)),
    "repeated headers": Flood(PREFACE, partial(_requests, _GET + b"\xb2" * 300)),
    "unknown frames": _same(PREFACE, http2_frame(0x55)),
    "DATA of a reset stream": _same(
        PREFACE,
        http2_frame(0, 0, 1, b"x"),
        http2_frame(1, 4, 1, _POST) + http2_frame(3, 0, 1, _CANCEL),
    ),
}
# Input that every client may send: it takes turns, and is not limited.
UNLIMITED_FLOODS = {
    "requests with many headers": _same(b"", _HEAD[:-2] + b"a:b\r\n" * 190 + b"\r\n"),
    "pipelined requests": _same(b"", _HEAD),
    "chunks of one byte": _same(head("Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
    "DATA of one byte": _same(PREFACE, http2_frame(0, 0, 1, b"x"), http2_frame(1, 4, 1, _POST)),
    "a body without end": _same(head("Content-Length: 1000000000"), b"x" * 1000),
}


async def send_flood(port: int, flood: Flood, rate: float = BYTES_PER_S) -> bytes:
    """Send the flood until the service closes the connection; return all that it sent."""
    async with connected(port) as (reader, writer):
        writer.write(flood.opening)
        if flood.opening is UPGRADE:
            await reader.readuntil(b"\r\n\r\n")
        sending = asyncio.create_task(_send(writer, flood.frames(), rate))
        received = bytearray()
        try:
            with suppress(ConnectionError):
                while block := await reader.read(65_536):
                    received += block
        finally:
            sending.cancel()
        return bytes(received)


async def _send(writer: asyncio.StreamWriter, frames: Iterator[bytes], rate: float) -> None:
    loop = asyncio.get_running_loop()
    started, sent = loop.time(), 0
    with suppress(ConnectionError):
        while True:
            block = b""
            while len(block) < _BLOCK_BYTES:
                block += next(frames)
            writer.write(block)
            await writer.drain()
            sent += len(block)
            await asyncio.sleep(max(0.0, started + sent / rate - loop.time()))


def close_code(received: bytes) -> int:
    """Return the code of the close frame at the end of a WebSocket's bytes."""
    _, _, end = received.rpartition(b"\x88")
    return int.from_bytes(end[1:3])


def goaway_code(received: bytes) -> int:
    """Return the error code of the GOAWAY frame at the end of an HTTP/2 connection's bytes."""
    end = received[-17:]
    assert end[:5] == b"\0\0\x08\x07\0", received[-60:]
    return int.from_bytes(end[13:17])
