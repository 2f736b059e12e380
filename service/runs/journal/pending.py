"""How far the log of one run has come into safety."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from service.events import Event
from service.runs.journal.codec import encode_events, join_lines
from service.runs.journal.spool import Spooled
from service.runs.log import RunLog
from service.store.records import Segment


class PendingEvents:
    """Gathers what is appended to a run's log until it has been committed. A keeper of the log.

    `tell` is called once when there is something new, `secure_all` when somebody is about to see
    it. `saved` is done when the run's end is in the database.
    """

    __slots__ = (
        "_first_seq",
        "_is_noted",
        "_lines",
        "_log",
        "_secure_all",
        "_secured",
        "_tell",
        "owner",
        "run_id",
        "saved",
    )  # one for each open run

    def __init__(
        self,
        run_id: str,
        owner: str,
        log: RunLog,
        tell: Callable[[PendingEvents], None],
        secure_all: Callable[[], None],
    ) -> None:
        self.run_id = run_id
        self.owner = owner
        self.saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = log
        self._tell = tell
        self._secure_all = secure_all
        self._is_noted = False
        self._secured = 0
        self._lines: list[bytes] = []
        self._first_seq = 1

    def note(self) -> None:
        if not self._is_noted:
            self._is_noted = True
            self._tell(self)

    def secure(self) -> None:
        if self._is_noted:
            self._secure_all()

    def take_new(self) -> Spooled | None:
        """Return what has been appended since the last time, for the spool."""
        self._is_noted = False
        events = self._log.after(self._secured)
        return self.add(events) if events else None

    def add(self, events: Sequence[Event]) -> Spooled:
        """Take in the events that come next, which need not be in the log yet."""
        line = encode_events(events)
        spooled = Spooled(self.run_id, self._secured + 1, line)
        self._lines.append(line)
        self._secured += len(events)
        return spooled

    def segment(self) -> Segment | None:
        """Return what has come in since the last segment."""
        if not self._lines:
            return None
        segment = Segment(
            run_id=self.run_id,
            owner=self.owner,
            first_seq=self._first_seq,
            last_seq=self._secured,
            data=join_lines(self._lines),
        )
        self._lines, self._first_seq = [], self._secured + 1
        return segment
