"""Recovery of runs that a stopped worker left unfinished: each gets a final event.

A worker on this machine has ended when the lock on its spool is free; the events in its spool are
committed. A worker on another machine is stale when its last heartbeat is too old.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from service.events import Event
from service.runs.journal.codec import decode_events, encode_events
from service.runs.journal.spool import Spooled, find_orphans
from service.runs.projections.rows import make_agent_answer, make_final_answers, make_run_end
from service.runs.projections.summary import make_run_failed
from service.runs.recovery.heartbeat import Heartbeat
from service.runs.run import INTERRUPTED
from service.runs.transport.database import join_segments
from service.store.journal.batch import Batch
from service.store.records import Segment, StoredRun
from service.store.store import Store
from telemetry import Telemetry

_log = logging.getLogger(__name__)

STALE_AFTER_S = 20.0


class Recovery:
    """Ends runs of stale workers. `retention_s` is how long their events stay readable."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        heartbeat: Heartbeat,
        retention_s: float,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._folder = folder
        self._heartbeat = heartbeat
        self._retention = timedelta(seconds=retention_s)
        self._telemetry = telemetry

    async def recover_stale_workers(self) -> None:
        """End the unfinished runs of workers that have ended. Raises StorageUnavailable."""
        for orphan in find_orphans(self._folder):
            try:
                await self._end_runs(orphan.worker_id, orphan.read())
            except BaseException:
                orphan.release()
                raise
            orphan.remove()
        # Other workers could send heartbeats for as long as this one could.
        if self._heartbeat.unbroken_s > STALE_AFTER_S:
            before = datetime.now(UTC) - timedelta(seconds=STALE_AFTER_S)
            own_id = self._heartbeat.worker_id
            for worker_id in await self._store.workers.list_stale(before, except_for=own_id):
                await self._end_runs(worker_id, [])

    async def _end_runs(self, worker_id: str, spooled: Sequence[Spooled]) -> None:
        for run in await self._store.workers.list_unfinished_runs(worker_id):
            segments = await self._store.runs.list_segments(run.owner, run.id)
            stored = join_segments(segments, 0)
            entries = [each for each in spooled if each.run_id == run.id]
            batch = self._make_last_batch(run, stored, entries)
            await self._store.journal.write(batch)
            state = batch.endings[0].state
            self._telemetry.record_recovery(
                "interrupted" if state == "interrupted" else "completed"
            )
            _log.warning("an unfinished run was ended: %s", state, extra={"run_id": run.id})
        await self._store.workers.deregister(worker_id)

    def _make_last_batch(
        self, run: StoredRun, stored: list[Event], spooled: list[Spooled]
    ) -> Batch:
        """Return the events that the database lacks, and the end of the run."""
        now = datetime.now(UTC)
        events = append_spooled(stored, spooled)
        if not (events and events[-1].final):
            events = [*events, make_run_failed(events, INTERRUPTED.code, INTERRUPTED.message)]
        new = events[len(stored) :]
        answers = [make_agent_answer(run.id, run.owner, event) for event in events]
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
                *make_final_answers(run.id, run.owner, events[-1]),
            ],
            segments=[segment],
            endings=[make_run_end(run.id, run.owner, events, now, self._retention)],
        )


def append_spooled(stored: list[Event], spooled: Sequence[Spooled]) -> list[Event]:
    """Return the stored events and those of the spool that follow them without a gap."""
    events = list(stored)
    for entry in sorted(spooled, key=lambda each: each.first_seq):
        if entry.first_seq > len(events) + 1:
            break
        try:
            decoded = decode_events(entry.line)
        except msgspec.DecodeError:  # a line is incomplete after a power failure
            break
        events += decoded[len(events) + 1 - entry.first_seq :]
    return events
