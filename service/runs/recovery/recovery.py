"""Recovery of runs that a stopped worker left unfinished: each gets a final event.

A worker of this machine has ended when its lock is free; the events in its spool are committed. One
of another machine, whose lock cannot be tested, is stale when its heartbeat has not changed for too
long: its runs are taken over, and end after a gap in which its last events can be added later.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from service.errors import StorageUnavailable
from service.runs.journal.locks import FreeLock, find_free_locks, is_held, list_workers, try_to_take
from service.runs.journal.spool import Orphan, Spooled, find_orphans
from service.runs.recovery.ending import append_spooled, make_last_batch
from service.runs.recovery.late import add_late_events
from service.runs.recovery.lease import Lease
from service.runs.recovery.observation import Observation
from service.runs.transport.database import join_segments
from service.store.records import FIRST_ATTEMPT, StoredRun
from service.store.store import Store
from service.store.workers import WorkerBeat
from telemetry import Telemetry

_log = logging.getLogger(__name__)

SPOOL_FACT = "spool"  # in a lock file: the folder of the worker's spool


@dataclass(frozen=True, slots=True)
class Folders:
    """The folder of the spools, and that of the locks which show who is alive; often the same."""

    spools: Path
    locks: Path


class Recovery:
    """Ends runs of stale workers. `retention_s` is how long their events stay readable."""

    def __init__(
        self, store: Store, folders: Folders, lease: Lease, retention_s: float, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._folders = folders
        self._lease = lease
        self._observation = Observation(lease.duration_s)
        self._retention = timedelta(seconds=retention_s)
        self._telemetry = telemetry
        self._has_taken_over = False

    async def recover_stale_workers(self) -> None:
        """End the unfinished runs of workers that have ended. Raises StorageUnavailable."""
        for orphan in find_orphans(self._folders.spools):
            await self._recover_spool(orphan)
        if self._folders.locks != self._folders.spools:
            for lock in find_free_locks(self._folders.locks):
                await self._recover_by_lock(lock)
        for stale in await self._observe():
            await self._take_over(stale)
        await self._end_taken_over()

    async def _recover_spool(self, orphan: Orphan) -> None:
        """End the runs of a worker of this machine with the events of its spool."""
        is_done = False
        try:
            spooled = orphan.read()
            for run in await self._store.workers.list_unfinished_runs(orphan.worker_id):
                entries = [each for each in spooled if each.run_id == run.id]
                await self._end_run(run, entries, is_complete=orphan.is_complete)
            await self._store.workers.deregister(orphan.worker_id)
            is_done = await self._add_late(spooled)
        finally:
            if is_done:
                orphan.remove()
            else:
                orphan.release()

    async def _add_late(self, spooled: Sequence[Spooled]) -> bool:
        """Add the events of runs that others have ended; return False to try again later."""
        is_done = True
        run_ids = sorted({each.run_id for each in spooled})
        for run in await self._store.workers.list_taken_over(run_ids):
            entries = [each for each in spooled if each.run_id == run.id]
            segments = await self._store.runs.list_segments(run.owner, run.id)
            stored = [event for event in join_segments(segments, 0) if not event.final]
            events = append_spooled(stored, entries)
            is_ended = run.state != "running"
            is_done &= is_ended and await add_late_events(self._store.journal, run, events)
        return is_done

    async def _recover_by_lock(self, lock: FreeLock) -> None:
        """End the runs of a worker of this machine whose spool is in another folder."""
        is_done = False
        try:
            spools = Path(str(lock.read_facts().get(SPOOL_FACT, "")))
            spool_lock = try_to_take(spools, lock.worker_id)
            if spool_lock is not None:
                await self._recover_spool(Orphan(spools, spool_lock))
                is_done = True
            elif lock.worker_id not in list_workers(spools):  # else another worker recovers it
                beats = await self._store.workers.list_beats(except_for=self._lease.worker_id)
                known = {each.worker_id: each for each in beats}
                beat = known.get(lock.worker_id, WorkerBeat(lock.worker_id, None))
                is_done = await self._take_over(beat)
        finally:
            if is_done:
                lock.remove()
            else:
                lock.release()

    async def _observe(self) -> list[WorkerBeat]:
        """Return the workers whose heartbeat is too old and whose lock is not here."""
        asked_at = self._lease.clock()
        try:
            beats = await self._store.workers.list_beats(except_for=self._lease.worker_id)
        except StorageUnavailable:
            self._observation.restart()
            raise
        here = set(list_workers(self._folders.locks))
        is_seen = self._lease.worker_id in here
        registered = [each.worker_id for each in beats if each.beat is not None]
        self._lease.is_contested = any(not is_seen or each not in here for each in registered)
        stale = self._observation.find_stale(beats, asked_at, self._lease.clock())
        return [each for each in stale if not is_held(self._folders.locks, each.worker_id)]

    async def _take_over(self, stale: WorkerBeat) -> bool:
        self._has_taken_over = True  # before: the reply to the commit can be lost
        is_taken = await self._store.workers.take_over(stale, by=self._lease.worker_id)
        if is_taken:
            _log.warning("took over the runs of a worker without a heartbeat: %s", stale.worker_id)
        return is_taken

    async def _end_taken_over(self) -> None:
        if self._has_taken_over:
            for run in await self._store.workers.list_unfinished_runs(self._lease.worker_id):
                if run.attempt > FIRST_ATTEMPT:
                    await self._end_run(run, [], is_complete=False)
            self._has_taken_over = False

    async def _end_run(
        self, run: StoredRun, spooled: Sequence[Spooled], *, is_complete: bool
    ) -> None:
        segments = await self._store.runs.list_segments(run.owner, run.id)
        stored = join_segments(segments, 0)
        events = append_spooled(stored, spooled)
        batch = make_last_batch(run, stored, events, self._retention, is_complete=is_complete)
        if (await self._store.journal.write(batch)).fenced:
            return  # another worker has taken it over
        state = batch.endings[0].state
        self._telemetry.record_recovery("interrupted" if state == "interrupted" else "completed")
        _log.warning("an unfinished run was ended: %s", state, extra={"run_id": run.id})
