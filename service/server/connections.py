"""Hypercorn's connections with turns on the event loop and an end when the client closes.

Without this module Hypercorn

- handles everything that it has received from a connection before any other task runs: 64 KB of
  WebSocket pings or HTTP/2 settings took up to 300 ms, and one client that sent 1 MB/s stopped all
  streams;
- retains the connection of a client that has closed its side until the idle timeout: in CLOSE_WAIT
  for 75 s;
- leaves each connection in a reference cycle, so that only the garbage collector frees it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Closed, Event, RawData, Updated

from service.errors import drop_tracebacks
from service.server.body_writer import TransportRequested
from service.server.idle_timer import IdleTimer, Termination

# Events or frames that one connection handles in one turn; each takes 20 to 50 microseconds.
EVENTS_PER_TURN = 16
# A browser sends about 30 header lines, or a hundred when HTTP/2 splits a long cookie. Each takes
# about 5 microseconds in all layers, and one byte of HTTP/2 can repeat a header.
MAX_HEADERS = 200
# An event of a stream wakes about eight tasks one after the other, from the model's socket to the
# client's. All of them run between two turns, so that a flood delays the event by one or two turns.
_ITERATIONS_BETWEEN_TURNS = 8


def patch_connections() -> None:
    """Make Hypercorn use the classes of this module; it has no setting for that."""
    setattr(run, WorkerContext.__name__, ServerContext)
    setattr(run, TCPServer.__name__, _ServerConnection)


class Turns:
    """The turns of all connections that have more input to handle.

    They share one queue: however many connections wait, one of them has a turn in eight
    iterations of the event loop.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self) -> None:
        """Let all other tasks run, and the connections that have waited for longer."""
        async with self._lock:
            for _ in range(_ITERATIONS_BETWEEN_TURNS):
                await asyncio.sleep(0)


class ServerContext(WorkerContext):
    """Hypercorn's object that all connections of a process share."""

    def __init__(self, max_requests: int | None) -> None:
        super().__init__(max_requests)
        self.turns = Turns()
        self.terminated = self.termination = Termination()


class _ServerConnection(TCPServer):
    context: ServerContext
    _is_at_end = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        idle_s = self.config.keep_alive_timeout
        self.idle_task = IdleTimer(self.context.termination, idle_s, self.writer.close)

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            vars(self).pop("protocol", None)  # it refers to this; none if the client left at once
            if error := self.reader.exception():
                drop_tracebacks(error)  # their frames refer to the reader

    async def _read_data(self) -> None:
        await self._handle_input()
        # The end of file is a disconnect, also from a client that still reads: HTTP has no sign
        # that distinguishes them. A response that is ready is still sent, since the tasks of the
        # applications end before the connection does.
        self._is_at_end = True
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    async def _handle_input(self) -> None:
        while not self.reader.at_eof():
            try:
                data = await self.reader.read(MAX_RECV)
            except OSError:
                return
            await self.protocol.handle(RawData(data))

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, TransportRequested):
            event.transport = self.writer.transport
            return
        if self._is_at_end and isinstance(event, Updated):
            return  # no further request can arrive, so there is no idle time
        await super().protocol_send(event)
