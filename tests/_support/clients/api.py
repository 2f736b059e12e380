"""An HTTP client of the service, and a strict parser of its event streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests._support.patience import PATIENCE_S

KEEP_ALIVE = b": keep-alive\n\n"
_EVENT = re.compile(rb"id: (run_[0-9a-f]{32})-([1-9][0-9]*)\ndata: (\{[\x20-\x7e]*\})\n\n")


@dataclass(frozen=True)
class Event:
    """One event as it came; `raw` is its very bytes."""

    run_id: str
    seq: int
    data: dict[str, Any]
    raw: bytes

    @property
    def id(self) -> str:
        return f"{self.run_id}-{self.seq}"

    @property
    def type(self) -> str:
        return str(self.data["type"])


def event_of(block: bytes) -> Event:
    """Return the one event in `block`, which must be an id line and a data line of ASCII JSON."""
    match = _EVENT.fullmatch(block)
    assert match, block
    data = json.loads(match[3])
    assert data["seq"] == int(match[2])
    return Event(match[1].decode(), int(match[2]), data, block)


def events_of(body: bytes) -> list[Event]:
    """Return the events of a stream's bytes; nothing but keep-alive comments may be between."""
    blocks = body.split(b"\n\n")
    assert blocks.pop() == b"", "the stream broke off inside an event"
    return [event_of(block + b"\n\n") for block in blocks if block + b"\n\n" != KEEP_ALIVE]


def assert_whole(events: Sequence[Event], after: int = 0) -> None:
    """Require every event behind number `after`: no gap, no repeat, one final and it is last."""
    assert [event.seq for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert len({event.run_id for event in events}) == 1
    assert [bool(event.data.get("final")) for event in events] == [False] * (len(events) - 1) + [
        True
    ]


async def follow(response: httpx.Response) -> AsyncIterator[Event]:
    """Yield the events of an open stream as they come."""
    buffer = b""
    async for block in response.aiter_raw():
        buffer += block
        while b"\n\n" in buffer:
            whole, _, buffer = buffer.partition(b"\n\n")
            if whole + b"\n\n" != KEEP_ALIVE:
                yield event_of(whole + b"\n\n")
    assert buffer == b"", f"the stream broke off inside an event: {buffer[-200:]!r}"


def asking(message: str = "Why is the sky blue?", **fields: Any) -> dict[str, Any]:
    """Return the body of a request."""
    return {"message": message, "message_id": "message_123", **fields}


def of_type(events: Sequence[Event], *types: str) -> list[dict[str, Any]]:
    return [event.data for event in events if event.type in types]


def answer_of(events: Sequence[Event]) -> str:
    return "".join(data["message"] for data in of_type(events, "answer.delta"))


@dataclass
class Api:
    """A client of one server."""

    http: httpx.AsyncClient

    async def ask(self, message: str = "Why is the sky blue?", **fields: Any) -> list[Event]:
        """Ask and return every event of the answer."""
        response = await self.http.post("/api/process", json=asking(message, **fields))
        assert response.status_code == 200, response.text
        return events_of(response.content)

    @asynccontextmanager
    async def asked(
        self, headers: dict[str, str] | None = None, **fields: Any
    ) -> AsyncIterator[httpx.Response]:
        """Ask and hand over the open stream."""
        body = asking(**fields)
        async with self.http.stream("POST", "/api/process", json=body, headers=headers) as response:
            assert response.status_code == 200
            yield response

    async def started(self, **fields: Any) -> str:
        """Start a run, let go of its stream after the first event, and return its id."""
        async with self.asked(**fields) as response:
            return (await anext(follow(response))).run_id

    async def replayed(
        self, run_id: str, query: str = "", headers: dict[str, str] | None = None
    ) -> list[Event]:
        """Return what a run's event stream gives, to its end."""
        response = await self.http.get(f"/api/runs/{run_id}/events{query}", headers=headers)
        assert response.status_code == 200, response.text
        return events_of(response.content)

    async def shown(self, run_id: str) -> dict[str, Any]:
        """Return the run resource."""
        response = await self.http.get(f"/api/runs/{run_id}")
        assert response.status_code == 200, response.text
        shown: dict[str, Any] = response.json()
        return shown

    async def ended(self, run_id: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until a run is over and return it."""

        async def over() -> bool:
            return bool((await self.shown(run_id))["state"] != "running")

        await until(over, patience_s)
        return await self.shown(run_id)


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[Api]:
    """Connect to the server at `url`."""
    # verify=False saves each client 40 ms of reading certificates; there is no TLS here.
    unverified: dict[str, Any] = {"verify": False, "timeout": PATIENCE_S, **options}
    async with httpx.AsyncClient(base_url=url, **unverified) as http:
        yield Api(http)


async def until(condition: Callable[[], Awaitable[bool]], patience_s: float = PATIENCE_S) -> None:
    """Wait for something that has to happen; only a hang fails."""
    async with asyncio.timeout(patience_s):
        while not await condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def connected(
    port: int, limit: int = 2**24
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a bare connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(port: int, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the server hangs up."""
    async with asyncio.timeout(PATIENCE_S), connected(port) as (reader, writer):
        writer.write(request)
        await writer.drain()
        return await reader.read()


def head(*lines: str, method: str = "POST", path: str = "/api/process") -> bytes:
    """Return a request's head with these further header lines."""
    told = "".join(f"{line}\r\n" for line in lines)
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\n{told}\r\n"
    ).encode("latin-1")


def posting(body: bytes, *lines: str) -> bytes:
    """Return a complete request to `/api/process` that asks the server to close the connection."""
    return head("Connection: close", f"Content-Length: {len(body)}", *lines) + body


@dataclass(frozen=True)
class Answered:
    """One HTTP/1.1 response; `body` with its chunks joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answered(raw: bytes) -> Answered:
    """Return the response that `raw` is, to its last byte."""
    response, rest = take_response(raw)
    assert rest == b""
    return response


def take_response(raw: bytes) -> tuple[Answered, bytes]:
    """Return the first response in `raw` and what follows it."""
    first, _, rest = raw.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 "), raw[:200]
    line, *lines = first.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = _joined(rest)
    elif "content-length" in headers:
        length = int(headers["content-length"])
        body, rest = rest[:length], rest[length:]
    else:
        body, rest = rest, b""
    return Answered(int(line.split()[1]), headers, body), rest


def _joined(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            return body, rest
