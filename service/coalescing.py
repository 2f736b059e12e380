"""Load-adaptive coalescing: a busy process reads and writes in frames, many tokens at once.

To read or write a single token costs a system call, a wake-up of the event loop and a pass
through several layers. An idle process does that for the lowest latency. A busy process reads its
model servers once per frame, which a reader cannot see, and leaves CPU time for more runs, as
network cards do with interrupts (interrupt moderation). One timer serves all streams, so that the
tokens of all models that arrive in a frame are stored and sent together. The first token never
waits, and the end of an answer at most one frame.
"""

from __future__ import annotations

import asyncio
import time
from operator import attrgetter
from typing import Protocol

FRAME_S = 0.008
# The frames from one full frame to the next, by the CPU share from which they apply: 16 ms, which
# is less than a frame of a screen, and up to 32 ms for a process that would be late otherwise.
FULL_EVERY = ((0.5, 4), (0.25, 3), (0.0, 2))
LONG_WINDOW_S = 0.100
ACTIVE_CPU_SHARE = 0.10  # of one core; below it nothing is delayed
BUSY_CPU_SHARE = 0.40  # from here the long window has its full length
IDLE_CPU_SHARE = 0.05  # frames end here: they reduce the share, and must not end themselves
SAMPLE_INTERVAL_S = 0.25


class FrameSource(Protocol):
    """A stream that is read at the end of each frame.

    One without a reader, such as that of an agent for whose end a combiner waits, is read first.
    """

    is_watched: bool

    def on_frame(self) -> None: ...


_is_watched = attrgetter("is_watched")


class CoalescingWindow:
    """The frames of this process. `is_active`: it is busy, so that reading may wait for frames.

    Every second to fourth frame is a `full` one: data that need not be read before is read then,
    for all streams together, so that the processor's caches hold the code and one write stores all.
    """

    def __init__(self) -> None:
        self.is_active = False
        self.is_full = False
        self._share = 0.0  # of one core
        self._full_every = FULL_EVERY[-1][1]
        self._frames = 0  # since the last full one
        self._sources: dict[FrameSource, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def long_window_s(self) -> float:
        """The seconds for which data that no client sees yet may wait for more."""
        return LONG_WINDOW_S * min(1.0, self._share / BUSY_CPU_SHARE) if self.is_active else 0.0

    def add(self, source: FrameSource) -> None:
        """Call `source.on_frame()` at the end of each frame until it is discarded."""
        self._sources[source] = None
        if self._timer is None:
            self._set_timer()

    def discard(self, source: FrameSource) -> None:
        """Do not call `source` any more."""
        self._sources.pop(source, None)

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(FRAME_S, self._end_frame)

    def _end_frame(self) -> None:
        self._timer = None
        self._frames += 1
        self.is_full = self._frames >= self._full_every
        if self.is_full:
            self._frames = 0
        for source in sorted(self._sources, key=_is_watched):
            source.on_frame()
        if self._sources:
            self._set_timer()

    async def adapt(self) -> None:
        """Observe the CPU usage of this process until cancelled."""
        while True:
            cpu, wall = time.process_time(), time.monotonic()
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            used = (time.process_time() - cpu) / (time.monotonic() - wall)
            share = self._share = (self._share + used) / 2
            self.is_active = share > (IDLE_CPU_SHARE if self.is_active else ACTIVE_CPU_SHARE)
            self._full_every = next(frames for least, frames in FULL_EVERY if share >= least)
