"""A connection to a model's server: aiohttp's, with limits for what a server sends around a body.

aiohttp limits each header section, but neither the number of interim responses (1xx) before a
response nor the bytes around its body: sizes and extensions of chunks, trailers. It also parses
everything that a read returned without a pause; uvloop reads up to 8 MB before it turns to other
connections. A server that sent interim responses blocked the event loop for 5 s.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError

from service.coalescing import CoalescingWindow
from service.errors import BadStream
from service.llm.body_reader import BodyReader
from service.llm.gathering import GatheredReading

# Of all header sections of one response, interim responses included.
MAX_HEAD_BYTES: Final = 262_144
# Of one response without its body. A chunk of one token takes 6 bytes more than the token.
MAX_FRAMING_BYTES: Final = 8_388_608
# Parsed before the event loop may do something else; 2 ms for the slowest data found.
_SLICE_BYTES: Final = 8_192


class UpstreamConnection(ResponseHandler):
    """One connection, for one response at a time.

    Failures of a response are BadStream when the server violates HTTP or exceeds a limit, and
    aiohttp's errors when the connection is lost.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._body: StreamReader | None = None  # None until the head of the response is complete
        self._received_bytes = 0
        self._backlog = b""  # received, not parsed
        self._is_scheduled = False
        self._gathering: GatheredReading | None = None

    def gather(self, window: CoalescingWindow, *, is_watched: bool) -> None:
        """Read this connection in frames until its stream is slow or the body ends."""
        if self._gathering is None and self.transport is not None and self._may_read():
            self._gathering = GatheredReading(
                self.transport,
                window,
                is_watched=is_watched,
                deliver=self._parse_gathered,
                may_read=self._may_read,
                stop=self._stop_gathering,
            )

    @property
    def is_gathering(self) -> bool:
        """Whether the connection is read in frames."""
        return self._gathering is not None

    def set_response_params(self, **params: Any) -> None:
        """Prepare for the response to a new request."""
        self._body, self._received_bytes = None, 0
        super().set_response_params(**params)

    @property
    def should_close(self) -> bool:
        """Whether the connection cannot be used for another request."""
        return bool(self._backlog) or super().should_close

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the head of a response; interim responses are dropped."""
        message, body = data
        if message.code >= 200 or message.code == 101:
            BodyReader.adopt(body)
            self._body = body
            super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Parse `data`: all of it if it is short, else a slice in each turn of the event loop."""
        if self._gathering is not None and data:
            self._gathering.take(data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        is_resumed = not (data or self._backlog)
        if is_resumed or self._parser is None or self._upgraded:  # aiohttp limits what it retains
            super().data_received(data)
        elif self._backlog or len(data) > _SLICE_BYTES:
            self._backlog += data
            if not self._is_scheduled:
                self._parse_backlog()
        else:
            self._parse(data)

    def _parse_backlog(self) -> None:
        self._is_scheduled = False
        if self.transport is None or not self._backlog:
            return
        data, self._backlog = self._backlog[:_SLICE_BYTES], self._backlog[_SLICE_BYTES:]
        self._parse(data)
        if not self._backlog:
            self._resume_reading_for_buffer()
            return
        self._pause_reading_for_buffer()
        if not self._reading_paused:  # else the reader of the body continues, by resume_reading()
            self._is_scheduled = True
            self._loop.call_soon(self._parse_backlog)

    def _parse(self, data: bytes) -> None:
        if data and self._body is not None and self._body.is_eof():
            self._end(BadStream("The model's server sent data after the end of its response."))
            return
        super().data_received(data)
        self._received_bytes += len(data)
        if self._body is None:
            if self._received_bytes > MAX_HEAD_BYTES:
                self._end(BadStream("The head of the model's response is too long."))
        elif self._received_bytes - self._body.total_bytes > MAX_FRAMING_BYTES:
            self._end(BadStream("The model's response has too many bytes around its body."))

    def _may_read(self) -> bool:
        return not (self._reading_paused or self._backlog or self._upgraded)

    def _parse_gathered(self, data: bytes) -> None:
        self._take(data)
        if self._body is None or self._body.is_eof():
            self._stop_gathering()

    def _stop_gathering(self) -> None:
        """Read as data arrives again."""
        if self._gathering is None:
            return
        if rest := self._end_gathering():
            self._take(rest)
        if self._may_read():
            self._resume_transport_reading()

    def _end_gathering(self) -> bytes:
        """End reading in frames, if it is; return the bytes that were not parsed."""
        gathering, self._gathering = self._gathering, None
        return gathering.end() if gathering else b""

    def _resume_transport_reading(self) -> None:
        if self._gathering is None:
            super()._resume_transport_reading()

    def _end(self, error: BadStream) -> None:
        """Close the connection; a response that is not complete fails with `error`."""
        self._backlog = b""
        self._end_gathering()
        self.abort()  # before: it forgets the exception
        self.set_exception(error)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail the response, and also its body, which aiohttp would leave without an end."""
        if isinstance(exc, HttpProcessingError):
            exc = BadStream("The model's server sent a response that is not valid HTTP.")
        super().set_exception(exc, *cause)
        body = self._body
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc, *cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Parse the rest that arrived before the connection was lost."""
        self._backlog += self._end_gathering()
        if self._backlog and self._parser is not None:
            data, self._backlog = self._backlog, b""
            super().data_received(data)
        super().connection_lost(exc)
        self._body = None  # it refers to this

    def close(self) -> None:
        """Close the connection without waiting for a server that does not read the request."""
        self._backlog = b""
        self._end_gathering()
        self._buffer.clear()  # a head that no caller awaits: its body refers to this
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()
