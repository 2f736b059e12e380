"""The log of one run, and readers that follow it.

Work appends; any number of readers follow, each at its own speed. Appending never waits for a
reader. A reader takes everything new in one go, so a burst costs it one wake-up and one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum, auto

from service.coalescing import CoalescingWindow
from service.events import Event


class RunLog:
    """An append-only list of events. The first has the sequence number 1."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self._events = list(events)
        self._is_released = False
        self._readers: set[Reader] = set()

    def append(self, event: Event) -> None:
        """Add `event` and wake whoever waits for it. Nothing may follow a final event."""
        if self.finished:
            raise RuntimeError(f"{event.type} after the end of the run")
        self._events.append(event)
        for reader in self._readers:
            reader.wake(at_once=event.final)

    def release_readers(self) -> None:
        """Let readers go although more may come: not from here."""
        self._is_released = True
        for reader in self._readers:
            reader.wake(at_once=True)

    @property
    def is_over(self) -> bool:
        """Whether readers have nothing to wait for."""
        return self._is_released or self.finished

    @property
    def finished(self) -> bool:
        return bool(self._events) and self._events[-1].final

    def after(self, seq: int) -> Sequence[Event]:
        """Return the events that follow number `seq` (0: all)."""
        return self._events[seq:]

    def __len__(self) -> int:
        return len(self._events)

    def join(self, reader: Reader) -> None:
        self._readers.add(reader)

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)


class Silence(Enum):
    """What a reader is told instead of events."""

    KEEP_ALIVE = auto()  # nothing happened for a while
    END = auto()  # the run is over and everything has been read


class Reader:
    """One connection's place in a log.

    `keep_alive_s` is how long it waits before it is told KEEP_ALIVE. Timers look at the clock
    when they fire; nothing is reset per event.
    """

    def __init__(
        self,
        log: RunLog,
        after: int,
        pace: CoalescingWindow,
        keep_alive_s: float,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self.seq = after
        self.delivered = after  # the last event that was dealt with before `take` was called again
        self._log = log
        self._pace = pace
        self._keep_alive_s = keep_alive_s
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time() - 1  # when something was last taken
        self._waiter: asyncio.Future[None] | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._keep_alive = self._loop.call_later(keep_alive_s, self._look)
        log.join(self)

    async def take(self) -> Sequence[Event] | Silence:
        """Return everything new, as soon as there is something; `seq` is then its last number."""
        self.delivered = self.seq
        events = self._log.after(self.seq)
        if not events and not self._log.is_over:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            events = self._log.after(self.seq)
        self._last = self._loop.time()
        if not events:
            return Silence.END if self._log.is_over else Silence.KEEP_ALIVE
        self._flush()
        self.seq += len(events)
        return events

    def close(self) -> None:
        self._log.leave(self)
        self._keep_alive.cancel()
        if self._waking:
            self._waking.cancel()

    def wake(self, *, at_once: bool) -> None:
        """Let `take` return: now, or when the window since its last return is over."""
        if self._waiter is None or self._waiter.done():
            return
        due = self._last + self._pace.reader_window_s
        if at_once or due <= self._loop.time():
            self._release()
        elif self._waking is None:
            self._waking = self._loop.call_at(due, self._release)

    def _release(self) -> None:
        if self._waking:
            self._waking.cancel()
            self._waking = None
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _look(self) -> None:
        due = self._last + self._keep_alive_s
        if due <= self._loop.time():
            self._release()
            due = self._loop.time() + self._keep_alive_s
        self._keep_alive = self._loop.call_at(due, self._look)
