"""Hypercorn's HTTP/1.1 without the upgrade to h2c, and in turns with other connections.

Without this module Hypercorn

- answers a request with `Upgrade: h2c` with 101 and every further one as HTTP/2, past a proxy in
  front that has checked only the first, and has no setting for it. Without the upgrade the request
  is answered in HTTP/1.1, as RFC 9110, 7.8 permits. HTTP/2 with prior knowledge and WebSockets are
  not affected;
- accepts any number of header lines within the 64 KB that it reads at once, and handles all chunks
  of a body that have arrived at once, even if each has one byte;
- never closes an HTTP/2 connection on which no request arrives;
- never releases a connection that is lost while a second request waits behind a streamed response;
- leaves the error of a malformed request in a reference cycle.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import h11
from hypercorn import protocol
from hypercorn.asyncio.worker_context import EventWrapper
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol import h11 as http1
from hypercorn.protocol.events import Body, EndBody, Event, Request, Response
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream

from service.api.middleware.direct_body import BODY_WRITER
from service.errors import drop_tracebacks
from service.server.body_writer import BodyWriter, TransportRequested
from service.server.connections import EVENTS_PER_TURN, MAX_HEADERS, ServerContext

_HEADERS_TOO_LARGE = 431
_CHUNKED = b"\r\ntransfer-encoding: chunked\r\n"


def patch_http1() -> None:
    """Make Hypercorn use the classes of this module."""
    setattr(protocol, H11Protocol.__name__, _Http1)
    setattr(http1, HTTPStream.__name__, _HttpStream)


class _ConnectionOverError(Exception):
    """The connection was closed; its further input is not handled."""


class _CanRead(EventWrapper):
    is_lost = False

    async def wait(self) -> None:
        await super().wait()
        if self.is_lost:
            raise _ConnectionOverError


class _Http1(H11Protocol):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.can_read: _CanRead = _CanRead()
        self._body_left = 0  # of a request with Content-Length; at most one block too many
        size = self.config.h11_max_incomplete_size
        self.connection = self._state = _Http1State(h11.SERVER, max_incomplete_event_size=size)

    async def handle(self, event: ConnectionEvent) -> None:
        with suppress(_ConnectionOverError):
            if isinstance(event, RawData):
                await self._handle_data(event.data)
            else:
                await super().handle(event)
        if isinstance(event, Closed):
            self.can_read.is_lost = True
            await self.can_read.set()

    async def _handle_data(self, data: bytes) -> None:
        """Handle a body in whole, and a head in blocks of the length to which heads are limited."""
        end = min(self._body_left, len(data))
        self._body_left -= end
        start = 0
        while start < len(data):
            end = end or min(start + self.config.h11_max_incomplete_size, len(data))
            try:
                await super().handle(RawData(data[start:end]))
            except H2ProtocolAssumedError as error:
                error.data += data[end:]
                await self.send(Updated(idle=True))  # the preface of HTTP/2 was taken for a request
                raise
            start, end = end, 0

    async def stream_send(self, event: Event) -> None:
        await super().stream_send(event)
        stream = self.stream
        if not isinstance(stream, _HttpStream):
            return
        if isinstance(event, EndBody):
            stream.body.close()
        elif isinstance(event, Response) and self._state.sends_chunks:
            await self.send(requested := TransportRequested())
            stream.body.open(requested.transport)

    async def _check_protocol(self, event: h11.Request) -> None:
        if len(event.headers) > MAX_HEADERS:
            await self._send_error_response(_HEADERS_TOO_LARGE)
            await self.send(Closed())
            raise _ConnectionOverError
        headers = dict(event.headers)
        self._body_left = int(headers.get(b"content-length", 0))
        if b"upgrade" not in headers:
            await super()._check_protocol(event)


class _HttpStream(HTTPStream):
    context: ServerContext
    _parts = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.body = BodyWriter()

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Request) and event.method != "HEAD":
            # The application's task starts in the next iteration of the event loop.
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[BODY_WRITER] = self.body.write
        elif isinstance(event, Body):
            self._parts += 1
            if self._parts % EVENTS_PER_TURN == 0:
                await self.context.turns.wait()


class _Http1State(h11.Connection):
    sends_chunks = False  # in the body of the current response

    def send(self, event: Any) -> Any:
        data = super().send(event)
        if isinstance(event, h11.Response):
            self.sends_chunks = _CHUNKED in data.lower()
        return data

    def next_event(self) -> Any:
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            drop_tracebacks(error)  # h11's frames refer to the error
            raise
