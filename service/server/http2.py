"""Hypercorn's HTTP/2 with a limit of frames per second, in turns with other connections.

Without this module Hypercorn

- answers any number of SETTINGS, PING, PRIORITY and RST_STREAM frames, of empty DATA frames and of
  window updates, and handles all that have arrived at once;
- maintains the deprecated tree of priorities, in which an insertion takes longer with each stream;
- ends the connection with a traceback when a client resets more than 1,000 streams at once, or
  sends data to a stream whose response has ended, a path that is not ASCII, or none;
- stores up to 16 MB of a frame before it refuses its length;
- closes the connection directly after GOAWAY, which the client then often does not receive.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from h2.events import DataReceived, PriorityUpdated, RequestReceived
from h2.events import Event as Http2Event
from h2.exceptions import ProtocolError
from hypercorn import protocol
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol

from service.server.connections import EVENTS_PER_TURN, MAX_HEADERS, ServerContext
from service.server.http2_frames import InboundFrames

_log = logging.getLogger(__name__)

_GOAWAY_S = 1.0  # in which a client may read GOAWAY and close the connection


def patch_http2() -> None:
    """Make Hypercorn use the protocol of this module; it has no setting for that."""
    setattr(protocol, H2Protocol.__name__, _Http2)


class _Http2(H2Protocol):
    context: ServerContext

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # h2 reads the setting only when it changes.
        self.connection.decoder.max_header_list_size = self.config.h2_max_header_list_size
        self._frames = InboundFrames(self.config.h2_max_inbound_frame_size)
        self._is_refused = False
        self._ended = asyncio.Event()

    async def handle(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._ended.set()
        if isinstance(event, RawData):
            await self._handle_data(event.data)
        else:
            await super().handle(event)

    async def _handle_data(self, data: bytes) -> None:
        for number, block in enumerate(self._frames.split(data, EVENTS_PER_TURN)):
            if number:
                await self.context.turns.wait()
            if self._is_refused:
                return
            if self._frames.error is not None:
                _log.info("closing an HTTP/2 connection: %s", self._frames.error.name)
                self.connection.close_connection(self._frames.error)
                await self._refuse()
                return
            await self._receive(block)

    async def _receive(self, block: bytes) -> None:
        try:
            events = self.connection.receive_data(block)
        except ProtocolError as error:
            _log.info("closing an HTTP/2 connection: %s", error)
            await self._refuse()
        else:
            await self._handle_events(events)

    async def _refuse(self) -> None:
        """Send GOAWAY, end all streams, and ignore further data until the connection is closed."""
        self._is_refused = True
        await self._flush()
        await super().handle(Closed())
        self.task_group.spawn(self._close_later)

    async def _close_later(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOAWAY_S):
                await self._ended.wait()
        await self.send(Closed())

    async def _handle_events(self, events: list[Http2Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self._drop(event)  # the response ended before the request
            elif isinstance(event, RequestReceived) and (status := _refusal(event)):
                self._frames.record_refused_request()
                self.connection.send_headers(
                    event.stream_id or 0, [(b":status", status)], end_stream=True
                )
            else:
                await super()._handle_events([event])
        await self._flush()

    def _drop(self, event: DataReceived) -> None:
        """Ignore data for an ended stream, but return its share of the connection's window."""
        with suppress(ProtocolError):
            self.connection.acknowledge_received_data(
                event.flow_controlled_length or 0, event.stream_id or 0
            )

    async def _priority_updated(self, event: PriorityUpdated) -> None:
        """Ignore priorities, as RFC 9113, 5.3.2 permits."""

    async def _flush(self) -> None:
        data = self.connection.data_to_send()
        if data:
            self._frames.record_sent(data)
            await self.send(RawData(data))


def _refusal(request: RequestReceived) -> bytes | None:
    """Return the status of a request that Hypercorn cannot handle; None if it can."""
    if len(request.headers) > MAX_HEADERS:
        return b"431"
    fields = dict(request.headers)
    parts = (fields.get(b":method"), fields.get(b":path"))
    return None if all(part and part.isascii() for part in parts) else b"400"
