"""Gives an end to runs whose process has ended without one, and keeps word that this one lives.

A process on this machine is known to have ended when the lock on its spool is free; what it had
noted there is taken over. Any other is taken for lost when nothing was heard of it for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from service.errors import StorageUnavailable
from service.events import Event
from service.runs.journal.codec import decode_events, encode_events
from service.runs.journal.spool import Spooled, orphans
from service.runs.projections.rows import answer_of, ending_of, last_answers
from service.runs.projections.summary import broken_off
from service.runs.run import INTERRUPTED
from service.runs.transport.database import events_of
from service.store.journal.batch import Batch
from service.store.records import Segment, StoredRun
from service.store.store import Store
from telemetry import Telemetry

_log = logging.getLogger(__name__)

BEAT_EVERY_S = 5.0
LOST_AFTER_S = 20.0


class Recovery:
    """Looks for what other processes left behind. `kept_s`: how long events are kept after."""

    def __init__(
        self, store: Store, folder: Path, worker_id: str, kept_s: float, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._folder = folder
        self._worker_id = worker_id
        self._kept = timedelta(seconds=kept_s)
        self._telemetry = telemetry
        self._beating_since: float | None = None
        self._has_beaten = False

    async def beat(self) -> bool:
        """Say that this process lives; return whether others had taken it for dead.

        Raises StorageUnavailable.
        """
        try:
            was_known = await self._store.workers.beat(self._worker_id, datetime.now(UTC))
        except StorageUnavailable:
            self._beating_since = None
            raise
        if self._beating_since is None:
            self._beating_since = asyncio.get_running_loop().time()
        was_forgotten = self._has_beaten and not was_known
        self._has_beaten = True
        return was_forgotten

    async def look(self) -> None:
        """End what no process works on any more. Raises StorageUnavailable."""
        for orphan in orphans(self._folder):
            try:
                await self._take_over(orphan.worker_id, orphan.read())
            except BaseException:
                orphan.release()
                raise
            orphan.remove()
        if self._others_could_beat():
            lost = datetime.now(UTC) - timedelta(seconds=LOST_AFTER_S)
            for worker_id in await self._store.workers.lost(lost, self._worker_id):
                await self._take_over(worker_id, [])

    def _others_could_beat(self) -> bool:
        """Whether the database was there for long enough that who lives has been heard of."""
        since = self._beating_since
        return since is not None and asyncio.get_running_loop().time() - since > LOST_AFTER_S

    async def _take_over(self, worker_id: str, spooled: Sequence[Spooled]) -> None:
        for run in await self._store.workers.unfinished(worker_id):
            segments = await self._store.runs.list_segments(run.owner, run.id)
            stored = events_of(segments, 0)
            batch = self._last_batch(
                run, stored, [each for each in spooled if each.run_id == run.id]
            )
            await self._store.journal.write(batch)
            state = batch.endings[0].state
            self._telemetry.record_recovery(
                "interrupted" if state == "interrupted" else "completed"
            )
            _log.warning("a run was found unfinished: %s", state, extra={"run_id": run.id})
        await self._store.workers.forget(worker_id)

    def _last_batch(self, run: StoredRun, stored: list[Event], spooled: list[Spooled]) -> Batch:
        """Return what is missing of a run: what was shown and not committed, and its end."""
        now = datetime.now(UTC)
        events = following(stored, spooled)
        if not (events and events[-1].final):
            events = [*events, broken_off(events, INTERRUPTED.code, INTERRUPTED.message)]
        new = events[len(stored) :]
        answers = [answer_of(run.id, run.owner, event) for event in events]
        segment = Segment(
            run_id=run.id,
            owner=run.owner,
            first_seq=len(stored) + 1,
            last_seq=len(events),
            data=encode_events(new),
        )
        return Batch(
            answers=[
                *(answer for answer in answers if answer),
                *last_answers(run.id, run.owner, events[-1]),
            ],
            segments=[segment],
            endings=[ending_of(run.id, run.owner, events, now, self._kept)],
        )


def following(stored: list[Event], spooled: Sequence[Spooled]) -> list[Event]:
    """Return the stored events and those of the spool that follow them without a gap."""
    events = list(stored)
    for entry in sorted(spooled, key=lambda each: each.first_seq):
        if entry.first_seq > len(events) + 1:
            break
        try:
            here = decode_events(entry.line)
        except msgspec.DecodeError:  # torn, as after a power failure
            break
        events += here[len(events) + 1 - entry.first_seq :]
    return events
