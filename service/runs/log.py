"""The log of one run, and its readers.

The run appends events; any number of readers follow, each at its own speed. Appending never waits
for a reader. A reader takes all new events at once, so a burst costs it one wake-up and one write.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto

from service.events import Event
from service.runs.recovery.lease import Lease


class RunLog:
    """An append-only list of events, numbered from 1.

    There may be a gap in the numbers before the final event, `last_seq`: events of a process that
    others cannot reach have them. With a `clock`, in seconds, it also has the time of each event.
    """

    def __init__(
        self,
        events: Sequence[Event] = (),
        last_seq: int | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._events = list(events)
        self._clock = clock
        self.started_at = clock() if clock else 0.0
        self._times_s = array("f")  # 4 bytes for each event
        self.last_seq = len(self._events) if last_seq is None else last_seq
        self.finished = bool(events) and events[-1].final
        # The number of the last event before the gap; None without one.
        self.interrupted_at = self._find_gap()
        self._is_released = False
        self._readers: set[Reader] = set()

    def append(self, event: Event, seq: int | None = None) -> None:
        """Add `event`, a final one as number `seq` if that is given, and wake the readers.

        Raises RuntimeError after a final event.
        """
        if self.finished:
            raise RuntimeError(f"{event.type} after the end of the run")
        self._events.append(event)
        if self._clock is not None:
            self._times_s.append(self._clock() - self.started_at)
        self.last_seq = len(self._events) if seq is None else seq
        if event.final:
            self.finished, self.interrupted_at = True, self._find_gap()
        self.wake_readers()

    def list_times_s(self) -> array[float]:
        """Return the seconds from the start to each event, and at the end those until now."""
        return self._times_s + array("f", [self._clock() - self.started_at if self._clock else 0])

    def wake_readers(self) -> None:
        """Let readers look for events."""
        for reader in self._readers:
            reader.wake()

    def release_readers(self) -> None:
        """Let readers end although the run continues, in another process."""
        self._is_released = True
        self.wake_readers()

    @property
    def is_over(self) -> bool:
        """Whether no more events will arrive here."""
        return self._is_released or self.finished

    def is_exhausted(self, seq: int) -> bool:
        """Return whether a reader behind event number `seq` receives no more events here."""
        return self._is_released or (self.finished and not self.after(seq))

    def _find_gap(self) -> int | None:
        before = len(self._events) - 1
        return before if self.last_seq > before + 1 else None

    def after(self, seq: int) -> Sequence[Event]:
        """Return the events that follow event number `seq`; 0 returns all."""
        at = self.interrupted_at
        return (
            self._events[-1:] if at is not None and at < seq < self.last_seq else self._events[seq:]
        )

    def after_in_sequence(self, seq: int) -> Sequence[Event]:
        """Return the events that follow event number `seq`, only up to the gap."""
        at = self.interrupted_at
        if at is None:
            return self._events[seq:]
        return self._events[seq:-1] if seq < at else self.after(seq)

    def numbered(self) -> Iterator[tuple[int, Event]]:
        """Yield all events with their numbers."""
        for seq, event in enumerate(self._events, 1):
            yield (self.last_seq if event.final else seq), event

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
    received. `flush` is called before events are returned; while `lease` is not held, none are.
    Without an event for `keep_alive_s`, `take` returns KEEP_ALIVE; its timer compares times when it
    fires, and no event resets it.
    """

    def __init__(
        self,
        log: RunLog,
        after: int,
        keep_alive_s: float,
        flush: Callable[[], None] = lambda: None,
        lease: Lease | None = None,
    ) -> None:
        self.seq = after
        self.delivered = after
        self._log = log
        self._keep_alive_s = keep_alive_s
        self._flush = flush
        self._lease = lease
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time() - 1  # when `take` last returned
        self._waiter: asyncio.Future[Silence | None] | None = None
        self._keep_alive = self._loop.call_later(keep_alive_s, self._on_keep_alive)
        log.join(self)

    async def take(self) -> Sequence[Event] | Silence:
        """Wait for new events and return all of them, without a gap in their numbers."""
        self.delivered = self.seq
        silence: Silence | None = None
        while not (events := self._find_events()) and silence is None:
            if self._log.is_exhausted(self.seq):
                silence = Silence.END
                break
            self._waiter = self._loop.create_future()
            try:
                silence = await self._waiter
            finally:
                self._waiter = None
        self._last = self._loop.time()
        if not events:
            return silence or Silence.KEEP_ALIVE
        self._flush()
        self.seq = self._log.last_seq if events[-1].final else self.seq + len(events)
        return events

    def _find_events(self) -> Sequence[Event]:
        if self._lease is not None and not self._lease.is_held:
            return ()
        return self._log.after_in_sequence(self.seq)

    def close(self) -> None:
        self._log.leave(self)
        self._keep_alive.cancel()

    def wake(self, silence: Silence | None = None) -> None:
        """Let `take` return: once for all events that are appended before it continues."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(silence)

    def _on_keep_alive(self) -> None:
        due = self._last + self._keep_alive_s
        if due <= self._loop.time():
            self.wake(Silence.KEEP_ALIVE)
            due = self._loop.time() + self._keep_alive_s
        self._keep_alive = self._loop.call_at(due, self._on_keep_alive)
