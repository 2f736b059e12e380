"""Writes parts of a streamed body to the connection, past the layers that have no use for them.

Without this module Hypercorn handles each part in seven objects and two locks, although a chunk of
HTTP/1.1 has only a size and two line ends around its data. h11 has no state between the chunks of
a body, so that it needs no notice of them.
"""

from __future__ import annotations

import asyncio

from hypercorn.events import Event


class TransportRequested(Event):
    """The question of a protocol for its connection's transport, to which it writes directly."""

    transport: asyncio.WriteTransport | None = None


class BodyWriter:
    """The body of one response; it takes parts only while the response is sent in chunks.

    Has no reference to the stream, whose scope refers to this.
    """

    __slots__ = ("_transport",)

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None

    def open(self, transport: asyncio.WriteTransport | None) -> None:
        """Take parts from now on: the head of a response in chunks was sent to `transport`."""
        self._transport = transport

    def close(self) -> None:
        """Take no more parts."""
        self._transport = None

    def write(self, data: bytes) -> bool:
        """Write `data` as a chunk; return False if the connection cannot take it at once.

        That is so while the client has not read everything: to send the part as a message waits
        for it, within the send timeout. It reports a lost connection too.
        """
        transport = self._transport
        if (
            transport is None
            or not data  # an empty chunk would end the body
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True
