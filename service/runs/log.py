"""The log of one run, and its readers.

The run appends events; any number of readers follow, each at its own speed. Appending never waits
for a reader. A reader takes all new events at once, so a burst costs it one wake-up and one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum, auto

from service.coalescing import CoalescingWindow
from service.events import Event


class RunLog:
    """An append-only list of events, numbered from 1."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self._events = list(events)
        self._is_released = False
        self._readers: set[Reader] = set()

    def append(self, event: Event) -> None:
        """Add `event` and wake the readers. Raises RuntimeError after a final event."""
        if self.finished:
            raise RuntimeError(f"{event.type} after the end of the run")
        self._events.append(event)
        for reader in self._readers:
            reader.wake(at_once=event.final)

    def release_readers(self) -> None:
        """Let readers end although the run continues, in another process."""
        self._is_released = True
        for reader in self._readers:
            reader.wake(at_once=True)

    @property
    def is_over(self) -> bool:
        """Whether no more events will arrive here."""
        return self._is_released or self.finished

    @property
    def finished(self) -> bool:
        return bool(self._events) and self._events[-1].final

    def after(self, seq: int) -> Sequence[Event]:
        """Return the events that follow event number `seq`; 0 returns all."""
        return self._events[seq:]

    def __len__(self) -> int:
        return len(self._events)

    def join(self, reader: Reader) -> None:
        self._readers.add(reader)

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)


class Silence(Enum):
    """The result of `Reader.take` when there are no events."""

    KEEP_ALIVE = auto()  # no event for `keep_alive_s`
    END = auto()  # the run is over and all events were taken


class Reader:
    """The position of one connection in a log.

    `seq` is the number of the last event taken, `delivered` of the last one that the client has
    received. `flush` is called before events are returned. Without an event for `keep_alive_s`,
    `take` returns KEEP_ALIVE; its timer compares times when it fires, and no event resets it.
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
        self.delivered = after
        self._log = log
        self._pace = pace
        self._keep_alive_s = keep_alive_s
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time() - 1  # when `take` last returned
        self._waiter: asyncio.Future[None] | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._keep_alive = self._loop.call_later(keep_alive_s, self._on_keep_alive)
        log.join(self)

    async def take(self) -> Sequence[Event] | Silence:
        """Wait for new events and return all of them."""
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
        """Let `take` return: now, or when the reader's window since its last return is over."""
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

    def _on_keep_alive(self) -> None:
        due = self._last + self._keep_alive_s
        if due <= self._loop.time():
            self._release()
            due = self._loop.time() + self._keep_alive_s
        self._keep_alive = self._loop.call_at(due, self._on_keep_alive)
