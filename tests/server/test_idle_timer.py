"""The time for which a connection without an open request stays open, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from h2.connection import H2Connection

from tests._support.clients.api import connected, head, take_response
from tests._support.patience import PATIENCE_S
from tests._support.servers.served_app import ServedApp, serving


class Answering:
    """An ASGI app that answers after a time."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"  # Hypercorn serves an app that refuses the lifespan
        await receive()
        await asyncio.sleep(self._delay_s)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Connection:
    """One connection to a served app."""

    served: ServedApp
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self) -> bytes:
        self.writer.write(head(method="GET", path="/"))
        response, rest = take_response(await self.reader.readuntil(b"ok"))
        assert rest == b""
        return response.body


@asynccontextmanager
async def _connected(delay_s: float = 0.0, idle_s: float = 75.0) -> AsyncIterator[Connection]:
    """Serve the app and connect to it."""
    async with (
        asyncio.timeout(PATIENCE_S),
        serving(Answering(delay_s), idle_s=idle_s) as served,
        connected(served.port) as (reader, writer),
    ):
        yield Connection(served, reader, writer)


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with _connected(idle_s=0.2) as connection:
        assert await connection.ask() == b"ok"
        assert await connection.reader.read() == b""


async def test_a_connection_without_a_request_is_closed_after_that_time() -> None:
    async with _connected(idle_s=0.2) as connection:
        assert await connection.reader.read() == b""


async def test_an_open_request_has_no_idle_time() -> None:
    async with _connected(delay_s=0.5, idle_s=0.1) as connection:
        assert await connection.ask() == b"ok"


async def test_each_request_starts_the_idle_time_anew() -> None:
    async with _connected(idle_s=2.0) as connection:
        for _ in range(4):  # 3.2 s in total
            await asyncio.sleep(0.8)
            assert await connection.ask() == b"ok"


async def test_an_idle_connection_of_http_2_is_closed_after_its_time() -> None:
    async with _connected(idle_s=0.2) as connection:
        protocol = H2Connection()
        protocol.initiate_connection()
        connection.writer.write(protocol.data_to_send())
        assert await connection.reader.read()  # the server's settings, and then the end of file


async def test_the_end_of_the_server_closes_idle_connections_at_once() -> None:
    async with _connected() as used, connected(used.served.port) as (reader, _):
        assert await used.ask() == b"ok"
        used.served.stop.set()
        assert await used.reader.read() == b""
        assert await reader.read() == b""
        await used.served.server


async def test_a_request_that_is_open_at_the_end_of_the_server_is_answered() -> None:
    async with _connected(delay_s=0.5) as connection:
        answer = asyncio.create_task(connection.ask())
        await asyncio.sleep(0.2)
        connection.served.stop.set()
        assert await answer == b"ok"
        assert await connection.reader.read() == b""


async def test_an_idle_connection_has_one_task() -> None:
    """Hypercorn's own idle time needs two more for each connection."""
    async with _connected() as connection:
        assert await connection.ask() == b"ok"
        before = len(asyncio.all_tasks())
        async with connected(connection.served.port) as (reader, writer):
            assert await Connection(connection.served, reader, writer).ask() == b"ok"
            assert len(asyncio.all_tasks()) == before + 1
