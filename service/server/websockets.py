"""Hypercorn's WebSockets, with the bounds and farewells that they lack.

- A message past the limit was kept in memory for as long as the client went on sending it: one of
  300 MB took 300 MB, although it was answered with 1009 at its first 256 KB.
- Compression was accepted, of which 64 KB can become 64 MB before anybody looks at the length.
- Text that is not UTF-8 ended the connection without a word, and a client that said goodbye
  looked like one that was lost.
- A connection that had ended was kept until its next ping was due.
- One whose client had sent on without waiting for the app, which then ended, was kept for ever; so
  was the app of one that sent before it was accepted.
- One that the service closed was hung up on before the client had said goodbye as well, so that
  what it was still sending made the kernel take back what it had not read yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from hypercorn.config import Config
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Event, Request, StreamClosed
from hypercorn.protocol.ws_stream import (
    ASGIWebsocketState,
    FrameTooLargeError,
    WebsocketBuffer,
    WSStream,
)
from hypercorn.typing import AppWrapper, ASGISendEvent, WebsocketAcceptEvent
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

_GOODBYE_S = 2.0  # for a client to answer a close

Put = Callable[[Any], Coroutine[Any, Any, None]]


def bound_websockets() -> None:
    """Let Hypercorn use our streams, for which it has no setting."""
    for protocol in (h11, h2):
        setattr(protocol, WSStream.__name__, _Stream)


class _Buffer(WebsocketBuffer):
    """What came of a message, up to `max_length` bytes; nothing more once one was longer."""

    _is_over = False

    def extend(self, event: Message[Any]) -> None:
        size = len(event.data.encode() if isinstance(event.data, str) else event.data)
        if self._is_over or self.length + size > self.max_length:
            self.clear()
            self._is_over = True
            raise FrameTooLargeError
        super().extend(event)
        self.length += size - len(event.data)


class _Stream(WSStream):
    def __init__(self, app: AppWrapper, config: Config, *connection: Any) -> None:
        super().__init__(app, config, *connection)
        self.buffer: _Buffer = _Buffer(config.websocket_max_message_size)
        self._pinging: asyncio.Task[Any] | None = None
        self._puts: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._app_ended = False

    async def handle(self, event: Event) -> None:
        was_closed = self.closed
        await super().handle(event)
        if isinstance(event, Request) and self.app_put is not None:
            self.app_put = partial(self._put, self.app_put)
        if self.closed and not was_closed:
            await self._end(told=isinstance(event, StreamClosed))

    async def _end(self, *, told: bool) -> None:
        self._ended.set()
        if self._pinging:
            self._pinging.cancel()
        if not told:  # it was refused: with 400, for what came before it was accepted
            if self.app_put is not None:
                await self.app_put({"type": "websocket.disconnect", "code": 1002})
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _put(self, put: Put, message: Any) -> None:
        """Hand the app a message, unless it ends before it takes it."""
        if self._app_ended:
            return
        task = asyncio.create_task(put(message))
        self._puts.add(task)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            self._puts.discard(task)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            await self._app_end()
        await super().app_send(message)

    async def _app_end(self) -> None:
        self._app_ended = True
        for task in self._puts:
            task.cancel()
        if self.state is ASGIWebsocketState.CLOSED:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._ended.wait()

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        self.handshake.extensions = None  # no compression
        await super()._accept(message)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                await self._receive(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                await self._part(event)

    async def _receive(self, event: Message[Any]) -> None:
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            await self._send_wsproto_event(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
            return
        if event.message_finished and self.app_put is not None:
            await self.app_put(self.buffer.to_message())
            self.buffer.clear()

    async def _part(self, event: CloseConnection) -> None:
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
        elif self.connection.state is ConnectionState.OPEN:  # wsproto's, of what breaks the rules
            await self._send_wsproto_event(CloseConnection(code=event.code))
        self.state = ASGIWebsocketState.CLOSED
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        self._pinging = asyncio.current_task()
        await super()._send_pings()
