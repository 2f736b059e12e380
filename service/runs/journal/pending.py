"""The events of one open run that are not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.events import Event
from service.runs.journal.codec import encode_events, join_lines
from service.runs.journal.spool import Spooled
from service.runs.log import RunLog
from service.store.records import Segment


@dataclass(eq=False, slots=True)
class PendingEvents:
    """Tracks which events of a run are spooled and committed. Owned by the journal.

    `end_committed` is done when the run's end is in the database. `is_queued` is set while the
    journal has the run on its list of logs with events that are not spooled.
    """

    run_id: str
    owner: str
    log: RunLog
    end_committed: asyncio.Future[None]
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
