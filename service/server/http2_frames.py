"""The frames that an HTTP/2 client sends: split into blocks, and counted against a limit.

The limits follow those of nghttp2 and Envoy. Only frame headers are read here; h2 verifies frames.
"""

from __future__ import annotations

from collections.abc import Iterator

from h2.errors import ErrorCodes

from service.server.frame_allowance import FrameAllowance

_HEADER_BYTES = 9
_PREFACE_BYTES = 24
_DATA, _HEADERS, _RST_STREAM, _WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x8
_END_STREAM, _PADDED = 0x1, 0x8
# A request that is reset has cost more than a ping: 200 at once and 40 per second are permitted.
_RESET_COST = 5
_REFUSED_COST = 20  # of a request with invalid or too many headers
_REQUEST_WEIGHT = 4  # in a block; a ping has 1
# A client that reads quickly updates its windows several times per DATA frame: Go after each 4 KB,
# for the stream and for the connection. The factor is Envoy's.
_WINDOW_UPDATES_PER_DATA = 10
_MOST_WINDOW_UPDATES = 10_000


class InboundFrames:
    """Splits received data into blocks of few frames; `error` is set if they exceed a limit."""

    def __init__(self, max_frame_bytes: int) -> None:
        self.error: ErrorCodes | None = None
        self._max_frame_bytes = max_frame_bytes
        self._allowance = FrameAllowance()
        self._window_updates = 0  # that the sent data permits
        self._newest_stream = 0
        self._header = bytearray()
        self._payload_left = _PREFACE_BYTES

    def split(self, data: bytes, frames_per_block: int) -> Iterator[bytes]:
        """Yield `data` in blocks in which at most `frames_per_block` frames start.

        A request counts as four frames.
        """
        start = position = frames = 0
        while position < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - position)
                self._payload_left -= step
            else:
                step = min(_HEADER_BYTES - len(self._header), len(data) - position)
                self._header += data[position : position + step]
            position += step
            if len(self._header) == _HEADER_BYTES:
                frames += _REQUEST_WEIGHT if self._header[3] == _HEADERS else 1
                self._count_frame()
                if frames >= frames_per_block or self.error is not None:
                    yield data[start:position]
                    start, frames = position, 0
        if start < len(data):
            yield data[start:]

    def record_sent(self, data: bytes) -> None:
        """Count sent frames: data permits window updates, a reset answers an invalid frame."""
        position = 0
        while position < len(data):
            kind = data[position + 3]
            if kind == _DATA:
                self._window_updates = min(
                    self._window_updates + _WINDOW_UPDATES_PER_DATA, _MOST_WINDOW_UPDATES
                )
            elif kind == _RST_STREAM:
                self._spend(_RESET_COST)
            position += _HEADER_BYTES + int.from_bytes(data[position : position + 3])

    def record_refused_request(self) -> None:
        """Count a request that was refused for its headers."""
        self._spend(_REFUSED_COST)

    def _count_frame(self) -> None:
        self._payload_left = int.from_bytes(self._header[:3])
        if self._payload_left > self._max_frame_bytes:
            self.error = ErrorCodes.FRAME_SIZE_ERROR
        cost = self._cost(self._header[3], self._header[4])
        self._header.clear()
        if cost:
            self._spend(cost)

    def _cost(self, kind: int, flags: int) -> int:
        """Return the cost of the frame; 0 for the frames of a request and for its data."""
        if kind == _DATA:
            is_empty = not self._payload_left or flags & _PADDED
            return 1 if is_empty and not flags & _END_STREAM else 0
        if kind == _HEADERS:
            stream = int.from_bytes(self._header[5:]) & 0x7FFF_FFFF
            is_new = stream > self._newest_stream
            self._newest_stream = max(stream, self._newest_stream)
            return 0 if is_new else 1
        if kind == _WINDOW_UPDATE and self._window_updates:
            self._window_updates -= 1
            return 0
        return _RESET_COST if kind == _RST_STREAM else 1

    def _spend(self, cost: int) -> None:
        if not self._allowance.spend(cost) and self.error is None:
            self.error = ErrorCodes.ENHANCE_YOUR_CALM
