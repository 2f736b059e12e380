"""The mock LLM as a server: HTTP/1.1 with keep-alive, fast enough for load tests of the service.

Handles connections and requests; MockLLM plans the responses, `player.py` sends them.
`GET /stats` returns the counters of the mock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.mock_llm.http import (
    MAX_BODY_BYTES,
    BadHeadError,
    Head,
    encode_response_head,
    parse_head,
)
from service.mock_llm.player import Player
from service.mock_llm.transport import ModelServer
from service.mock_llm.wire import Plan, error_plan, json_plan

_BACKLOG = 2048
_LAST_READ_S = 2.0


async def serve_mock(
    host: str, port: int, mock: ModelServer, *, ready: Callable[[str], None] | None = None
) -> None:
    """Serve `mock` until cancelled; port 0 selects a free port. Calls `ready` with the base URL."""
    loop = asyncio.get_running_loop()
    connections: set[_Connection] = set()
    server = await loop.create_server(
        lambda: _Connection(loop, mock, connections), host, port, backlog=_BACKLOG
    )
    try:
        if ready is not None:
            ready(_base_url(*server.sockets[0].getsockname()[:2]))
        await asyncio.Event().wait()
    finally:
        server.close()
        for connection in list(connections):
            connection.abort()


def _base_url(host: str, port: int) -> str:
    """Return the URL of the mock for a client on this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # compared with, not bound to
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


class _Connection(asyncio.Protocol):
    """The connection of one client: reads one request after the other and plays their plans."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, mock: ModelServer, connections: set[_Connection]
    ) -> None:
        self._loop = loop
        self._mock = mock
        self._connections = connections
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._head: Head | None = None
        self._player: Player | None = None
        self._refused = False

    def abort(self) -> None:
        """Close the connection immediately."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # create_server's kind; uvloop's are no subclass
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's name
        self._connections.discard(self)
        if self._player is not None:
            self._player.stop()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._buffer += data
        if self._player is None:
            self._read()
        elif len(self._buffer) > MAX_BODY_BYTES:
            self.abort()

    def pause_writing(self) -> None:
        if self._player is not None:
            self._player.pause()

    def resume_writing(self) -> None:
        if self._player is not None:
            self._player.resume()

    def _read(self) -> None:
        """Respond to the request in the buffer once it is complete."""
        if self._head is None:
            try:
                self._head = parse_head(self._buffer)
            except BadHeadError as error:
                self._refuse(error)
                return
            if self._head and self._head.expects_continue and not self._buffer:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._head is None or len(self._buffer) < self._head.length:
            return
        head, self._head = self._head, None
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        plan = self._plan_stats() if head.path == "/stats" else self._respond(head, body)
        self._player = Player(self._loop, self._transport, plan, self._mock)
        self._player.start(head.keep_alive, self._read_next)

    def _respond(self, head: Head, body: bytes) -> Plan:
        return self._mock.respond(head.method, head.path, body)

    def _plan_stats(self) -> Plan:
        names = ("requests", "open_streams", "closed_early")
        return json_plan(200, {name: getattr(self._mock, name) for name in names})

    def _read_next(self, keep_alive: bool) -> None:
        """Continue with the next request, which the buffer may already contain."""
        self._player = None
        if not keep_alive:
            self._transport.close()
        elif self._buffer:
            self._loop.call_soon(self._read_if_idle)

    def _read_if_idle(self) -> None:
        if self._player is None and not self._transport.is_closing():
            self._read()

    def _refuse(self, error: BadHeadError) -> None:
        """Send an error response, and close the connection once the client has had time to read it.

        Closing immediately, with unread data of the request, would reset the connection instead.
        """
        self._refused = True
        plan = error_plan(error.status, error.message)
        head = encode_response_head(error.status, plan.headers, chunked=False, keep_alive=False)
        self._transport.write(head + plan.steps[0].data)
        self._transport.write_eof()
        self._loop.call_later(_LAST_READ_S, self._transport.abort)
