"""Reading of one connection in frames: the data of several tokens at once.

A connection whose tokens arrive faster than frames is not read when a packet arrives, but at the
end of each frame (service/coalescing.py): the kernel collects the packets. The bytes are parsed
at once when they seem to end the answer or when no more follow; else those of a stream that a
client reads in the next full frame, and those of others, which no client sees, after twelve.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

from service.coalescing import CoalescingWindow

_READ_BYTES: Final = 65_536
_MAX_GATHERED_BYTES: Final = 32_768
_WATCHED_FRAMES: Final = 1
_UNWATCHED_FRAMES: Final = 12
_QUIET_FRAMES: Final = 2  # without data: the stream is slower than frames


class GatheredReading:
    """Reads a connection at the end of each frame and passes on the bytes with `deliver`.

    `stop` is called when the connection is to be read as data arrives again: its stream is slow or
    at its end, or the process is no longer busy. `may_read` returns False while the receiver has
    enough data.
    """

    __slots__ = (
        "_deliver",
        "_fd",
        "_frames",
        "_gathered",
        "_has_arrived",
        "_may_read",
        "_most_frames",
        "_quiet",
        "_stop",
        "_transport",
        "_window",
        "is_watched",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        window: CoalescingWindow,
        *,
        is_watched: bool,
        deliver: Callable[[bytes], None],
        may_read: Callable[[], bool],
        stop: Callable[[], None],
    ) -> None:
        self.is_watched = is_watched
        self._transport = transport
        self._window = window
        self._deliver = deliver
        self._may_read = may_read
        self._stop = stop
        self._fd = _find_plain_socket(transport)
        self._most_frames = _WATCHED_FRAMES if is_watched else _UNWATCHED_FRAMES
        self._gathered = b""
        self._frames = 0  # since the last delivery
        self._quiet = 0  # frames without data
        self._has_arrived = True  # data of an encrypted connection, in this frame
        transport.pause_reading()
        window.add(self)

    def end(self) -> bytes:
        """Leave the connection to the event loop; return the bytes that were not delivered."""
        self._window.discard(self)
        rest, self._gathered = self._gathered, b""
        return rest

    def on_frame(self) -> None:
        """Read what has arrived in this frame."""
        self._frames += 1
        if self._transport.is_closing() or not self._window.is_active:
            self._stop()
        elif not self._may_read():
            return
        elif self._fd < 0:
            self._resume()
        else:
            self._read()

    def take(self, data: bytes) -> None:
        """Gather bytes that the event loop has read, as those of an encrypted connection."""
        self._has_arrived = True
        if not self._transport.is_closing():
            self._transport.pause_reading()
        self._gather(data)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            self._note_quiet()
        except OSError:
            self._stop()  # the event loop reads, and reports, the same or the end of file
        else:
            if data:
                self._gather(data)
            else:
                self._stop()

    def _gather(self, data: bytes) -> None:
        self._quiet = 0
        self._gathered = self._gathered + data if self._gathered else data
        if (
            (self._window.is_full and self._frames >= self._most_frames)
            or len(self._gathered) >= _MAX_GATHERED_BYTES
            or _may_end(data)
        ):
            self._pass_on()

    def _note_quiet(self) -> None:
        self._quiet += 1
        if self._gathered:
            self._pass_on()
        elif self._quiet >= _QUIET_FRAMES:
            self._stop()

    def _pass_on(self) -> None:
        data, self._gathered, self._frames = self._gathered, b"", 0
        self._deliver(data)

    def _resume(self) -> None:
        """Let the event loop decrypt what has arrived since the last frame, for `take`."""
        if not self._has_arrived:
            self._note_quiet()
        self._has_arrived = False
        if self._may_read() and not self._transport.is_closing():
            self._transport.resume_reading()


def _may_end(data: bytes) -> bool:
    """Return whether an answer may end with `data`. A missed end costs two frames."""
    return (
        b'"finish_reason":"' in data
        or b'"finish_reason": "' in data
        or b"[DONE]" in data
        or data.endswith(b"\r\n0\r\n\r\n")
    )


def _find_plain_socket(transport: asyncio.Transport) -> int:
    """Return the descriptor of an unencrypted connection; -1 for others."""
    found: Any = transport.get_extra_info("socket")
    if found is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    return int(found.fileno())
