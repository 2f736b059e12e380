"""The reader of a response's body: aiohttp's, without work for each chunk of HTTP.

A model's server sends each token as a chunk. For each, aiohttp's reader records where the chunk
ends and lets the parser continue, which takes longer than decoding the token.
"""

from __future__ import annotations

from typing import Final

from aiohttp import StreamReader

_MOST_BLOCKS: Final = 2_048  # retained; each is at least one byte


class BodyReader(StreamReader):
    """Returns all that has arrived, with `readany`; other methods are not supported.

    aiohttp's parser creates its readers itself, so that `adopt` changes the class of one.
    """

    __slots__ = ()

    @classmethod
    def adopt(cls, reader: StreamReader) -> None:
        """Make `reader`, which has not been read from, a BodyReader."""
        if type(reader) is StreamReader:  # else it is the one of responses without a body
            reader.__class__ = cls

    def begin_http_chunk_receiving(self) -> None:
        """Do nothing: a chunk has no meaning for its receiver."""

    def end_http_chunk_receiving(self) -> None:
        """Do nothing, for the same reason."""

    def feed_data(self, data: bytes, _size: int = 0) -> bool:
        """Add data that has arrived; stop reading above the limits."""
        if not data:
            return False
        size = len(data)
        self._size += size
        self.total_bytes += size
        self._buffer.append(data)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        if self._size > self._high_water or len(self._buffer) > _MOST_BLOCKS:
            self._protocol.pause_reading()
        return False

    async def readany(self) -> bytes:
        """Wait for data and return all of it, b"" at the end. Raises the connection's error."""
        if self._exception is not None:
            raise self._exception
        while not self._buffer and not self._eof:
            if not self._protocol.connected:
                raise RuntimeError("the connection was closed")
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._size = 0
        if self._protocol._reading_paused:  # noqa: SLF001  (as aiohttp's reader does)
            self._protocol.resume_reading()
        return data
