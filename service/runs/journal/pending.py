"""The events of open runs that are not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from service.events import Event
from service.runs.journal.codec import encode_events, join_lines
from service.runs.journal.spool import Spooled
from service.runs.log import RunLog
from service.store.records import RunEnd, Segment


@dataclass(eq=False, slots=True)
class PendingEvents:
    """Tracks which events of a run are spooled and committed. Owned by the journal.

    `closed` is done when the run's end is in the database, or when another worker has taken the
    run over: then `is_fenced`. `is_queued` is set while the journal has the run on its list of logs
    with events that are not spooled.
    """

    run_id: str
    owner: str
    log: RunLog
    closed: asyncio.Future[None]
    is_fenced: bool = False
    is_queued: bool = False
    spooled_seq: int = 0  # the last event that was encoded for the spool
    segment_seq: int = 0  # the last event of the last segment
    lines: list[bytes] = field(default_factory=list)  # the encoded events between the two

    def take_new(self) -> Spooled | None:
        """Return the events that were appended since the last call, as an entry of the spool."""
        self.is_queued = False
        events = self.log.after(self.spooled_seq)
        return self.add(events) if events else None

    def add(self, events: Sequence[Event]) -> Spooled:
        """Encode the next events, which need not be in the log yet."""
        line = encode_events(events)
        entry = Spooled(self.run_id, self.spooled_seq + 1, line)
        self.lines.append(line)
        self.spooled_seq += len(events)
        return entry

    def take_segment(self) -> Segment | None:
        """Return the events that were added since the last segment."""
        if not self.lines:
            return None
        segment = Segment(
            run_id=self.run_id,
            owner=self.owner,
            first_seq=self.segment_seq + 1,
            last_seq=self.spooled_seq,
            data=join_lines(self.lines),
        )
        self.lines, self.segment_seq = [], self.spooled_seq
        return segment


class PendingRuns:
    """The pending events of every open run of this process."""

    def __init__(self) -> None:
        self._runs: dict[str, PendingEvents] = {}  # by run id
        self._fenced: set[PendingEvents] = set()
        self._unspooled: list[PendingEvents] = []

    @property
    def is_empty(self) -> bool:
        return not self._runs and not self._fenced

    @property
    def has_fenced(self) -> bool:
        """Whether the spool may have the only copy of events of a fenced run."""
        return bool(self._fenced)

    def add(self, run_id: str, owner: str, log: RunLog) -> PendingEvents:
        """Return the pending events of a new run."""
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending = self._runs[run_id] = PendingEvents(run_id, owner, log, closed)
        return pending

    def queue(self, pending: PendingEvents) -> None:
        """Register that the log of a run has events that are not spooled."""
        pending.is_queued = True
        self._unspooled.append(pending)

    def take_new(self) -> list[Spooled]:
        """Return the events of all runs that are not spooled, as entries of the spool."""
        entries = [entry for pending in self._unspooled if (entry := pending.take_new())]
        self._unspooled.clear()
        return entries

    def take_segments(self, run_ids: Iterable[str] | None = None) -> list[Segment]:
        """Return the events since the last segments: of these runs, by default of all."""
        wanted = self._runs if run_ids is None else run_ids
        found = [self._runs[run_id] for run_id in wanted if run_id in self._runs]
        return [segment for each in found if (segment := each.take_segment())]

    def close(self, endings: Iterable[RunEnd]) -> None:
        """Remove the runs whose ends are committed."""
        for ending in endings:
            if pending := self._runs.pop(ending.run_id, None):
                pending.closed.set_result(None)

    def fence(self, run_id: str) -> None:
        """Remove a run that another worker has taken over; its events remain in the spool."""
        if pending := self._runs.pop(run_id, None):
            pending.is_fenced = True
            self._fenced.add(pending)
            pending.closed.set_result(None)

    def release_fenced(self, pending: PendingEvents) -> None:
        """Forget a fenced run: its events are in the database, or have no place there."""
        self._fenced.discard(pending)
