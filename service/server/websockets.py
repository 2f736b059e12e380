"""Fixes Hypercorn's WebSockets: bounded memory and frames, and the closing handshake.

Without this module Hypercorn

- stores a message beyond the limit while the client sends it: one of 300 MB took 300 MB, although
  its first 256 KB were answered with 1009;
- accepts compression, where 64 KB can expand to 64 MB before the length is checked;
- ends the connection without a close frame for text that is not UTF-8, and reports a client that
  closed like one that was lost;
- retains an ended connection until its next ping is due;
- never releases a connection whose client sends to an app that has ended, nor the app of a
  connection that sends before it is accepted;
- answers any number of pings and stores any number of fragments, all that have arrived at once;
- retains the connection of a client that does not answer the close frame;
- closes the TCP connection before the client has answered the close frame, so that the client's
  further data makes the kernel discard text that the client has not read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from hypercorn.config import Config
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Body, Data, EndData, Event, Request, StreamClosed
from hypercorn.protocol.ws_stream import (
    ASGIWebsocketState,
    FrameTooLargeError,
    WebsocketBuffer,
    WSStream,
)
from hypercorn.typing import AppWrapper, ASGISendEvent, WebsocketAcceptEvent
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.events import Event as WebSocketEvent
from wsproto.frame_protocol import CloseReason

from service.server.connections import EVENTS_PER_TURN, ServerContext
from service.server.frame_allowance import FrameAllowance

_log = logging.getLogger(__name__)

_CLOSE_REPLY_S = 2.0  # in which a client may answer a close frame
_REST_S = 60.0  # in which it may first send the rest of a message that is too long
_LARGE_FRAGMENT_BYTES = 1024  # from which on a fragment is not limited

Put = Callable[[Any], Coroutine[Any, Any, None]]


def patch_websockets() -> None:
    """Make Hypercorn use the streams of this module; it has no setting for that."""
    for protocol in (h11, h2):
        setattr(protocol, WSStream.__name__, _Stream)


class _Buffer(WebsocketBuffer):
    """The received part of a message, at most `max_length` bytes; empty after a longer one."""

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
    context: ServerContext

    def __init__(self, app: AppWrapper, config: Config, *connection: Any) -> None:
        super().__init__(app, config, *connection)
        self.buffer: _Buffer = _Buffer(config.websocket_max_message_size)
        self._pinging: asyncio.Task[Any] | None = None
        self._puts: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._app_ended = False
        self._allowance = FrameAllowance()
        self._frame_bytes = 0
        self._is_refused = False
        self._is_receiving = False

    async def handle(self, event: Event) -> None:
        if self._is_refused and isinstance(event, Body | Data):
            return
        self._is_receiving = True
        was_closed = self.closed
        await super().handle(event)
        if isinstance(event, Request) and self.app_put is not None:
            self.app_put = partial(self._put, self.app_put)
        if self.closed and not was_closed:
            await self._end(app_knows=isinstance(event, StreamClosed))

    async def _end(self, *, app_knows: bool) -> None:
        self._ended.set()
        if self._pinging:
            self._pinging.cancel()
        if not app_knows:  # data before the handshake was refused with 400
            if self.app_put is not None:
                await self.app_put({"type": "websocket.disconnect", "code": 1002})
            await self.send(StreamClosed(stream_id=self.stream_id))
        self.app_put = self._pinging = None  # both refer to this

    async def _put(self, put: Put, message: Any) -> None:
        """Pass a message to the app, unless the app ends before it receives it."""
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
            await self._on_app_end()
        await super().app_send(message)

    async def _on_app_end(self) -> None:
        self._app_ended = True
        for task in self._puts:
            task.cancel()
        if self.state is ASGIWebsocketState.CLOSED:
            await self._wait_for_end()

    async def _wait_for_end(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_REPLY_S):
                await self._ended.wait()

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        self.handshake.extensions = None  # no compression
        await super()._accept(message)

    async def _handle_events(self) -> None:
        for number, event in enumerate(self.connection.events(), 1):
            if not self._allowance.spend(self._cost(event)):
                await self._refuse()
                return
            if isinstance(event, Message):
                await self._receive(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                await self._on_close(event)
            if number % EVENTS_PER_TURN == 0:
                await self.context.turns.wait()
            if self.closed:
                return

    def _cost(self, event: WebSocketEvent) -> int:
        """Return 1 for a frame; 0 for a large fragment and for an incomplete frame."""
        if not isinstance(event, Message):
            return 1
        self._frame_bytes += len(event.data)
        if not event.frame_finished:
            return 0
        size, self._frame_bytes = self._frame_bytes, 0
        return 1 if event.message_finished or size < _LARGE_FRAGMENT_BYTES else 0

    async def _refuse(self) -> None:
        """Close the socket, and ignore further data until the connection is closed."""
        _log.info("closing a WebSocket: the client sent too many frames per second")
        self._is_refused = True
        await self._close(CloseReason.POLICY_VIOLATION, "Too many frames per second.")

    async def _close(self, code: CloseReason, reason: str | None = None) -> None:
        """Send a close frame, and close the connection also if the client does not answer it."""
        if self.connection.state is ConnectionState.OPEN:
            await self._send_wsproto_event(CloseConnection(code=code, reason=reason))
            self.task_group.spawn(self._close_unanswered)

    async def _close_unanswered(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_REST_S):
                while self._is_receiving:
                    self._is_receiving = False
                    await self._wait_for_end()
        if not self.closed:
            self.state = ASGIWebsocketState.CLOSED
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_REPLY_S):  # a stalled client takes no more data
                    await self.send(EndData(stream_id=self.stream_id))
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _receive(self, event: Message[Any]) -> None:
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            await self._close(CloseReason.MESSAGE_TOO_BIG)
            return
        if event.message_finished and self.app_put is not None:
            await self.app_put(self.buffer.to_message())
            self.buffer.clear()

    async def _on_close(self, event: CloseConnection) -> None:
        if self.connection.state is ConnectionState.REMOTE_CLOSING:
            await self._send_wsproto_event(event.response())
        elif self.connection.state is ConnectionState.OPEN:  # after a protocol error
            await self._send_wsproto_event(CloseConnection(code=event.code))
        self.state = ASGIWebsocketState.CLOSED
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        self._pinging = asyncio.current_task()
        await super()._send_pings()
