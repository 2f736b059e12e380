"""Commits what happens in the runs of this process: all of them together, every quarter second.

A run's question is committed before anything is asked, its end before anybody is told of it, an
agent's answer when it lands, each with what belongs to it. Nobody waits for the database but who
opens or ends a run, and those not longer than its time limit.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable

from service.coalescing import CoalescingWindow
from service.errors import StorageUnavailable
from service.events import Event
from service.runs.journal.pending import PendingEvents
from service.runs.journal.spool import Spool
from service.runs.journal.timer import CommitTimer
from service.runs.log import RunLog
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import AgentAnswer, KeyConflict, NewRun, RunEnd
from telemetry import JournalMetrics, Workflow

_log = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.25
_LANDED_S = 0.03  # agents' answers wait this long for one another
_RETRY_S = 0.5
_END_S = 2.0  # a reader waits no longer than this to be told of the end


class Journal:
    """The one writer of this process. `keep()` has to run for anything to be committed.

    `failing` is why the last commit did not come about; new questions are refused with it.
    """

    def __init__(
        self,
        writer: JournalWriter,
        spool: Spool,
        pace: CoalescingWindow,
        timeout_s: float,
        metrics: JournalMetrics,
    ) -> None:
        self.failing: StorageUnavailable | None = None
        self._writer = writer
        self._spool = spool
        self._pace = pace
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._pending = Batch()
        self._askers: dict[str, asyncio.Future[KeyConflict | None]] = {}  # who waits for an opening
        self._trails: dict[str, PendingEvents] = {}
        self._new: list[PendingEvents] = []
        self._alarm = CommitTimer()
        self._all_due = math.inf  # when everything is to be committed

    async def open(self, opening: NewRun) -> KeyConflict | None:
        """Commit a question; return the run that has its place already, if there is one.

        Raises StorageUnavailable within the time limit, and then the run was never there.
        """
        if self.failing:
            raise self.failing
        asker: asyncio.Future[KeyConflict | None] = asyncio.get_running_loop().create_future()
        self._askers[opening.run_id] = asker
        self._pending.openings.append(opening)
        self._want(0)  # those that come during a commit go together into the next
        with self._writer.operation("open_run"):
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await asker
            except TimeoutError:
                self._leave(opening.run_id, asker)
                raise StorageUnavailable("The database takes too long.") from None
            except asyncio.CancelledError:
                self._leave(opening.run_id, asker)
                raise

    def follow(self, run_id: str, owner: str, log: RunLog) -> PendingEvents:
        """Keep what is appended to the log of a run that has been opened."""
        trail = PendingEvents(run_id, owner, log, self._noted, self.secure)
        self._trails[run_id] = trail
        log.keeper = trail
        return trail

    def land(self, answer: AgentAnswer) -> None:
        """Commit an agent's answer soon."""
        self._pending.answers.append(answer)
        self._want(_LANDED_S + self._pace.long_window_s)

    async def end(
        self, trail: PendingEvents, final: Event, ending: RunEnd, workflow: Workflow
    ) -> None:
        """Commit a run's end, the final event included.

        Returns when it is committed, or without that when the database is in trouble.
        """
        self.secure()
        self._spool.write([trail.add([final])])
        self._pending.endings.append(ending)
        self._want(self._pace.long_window_s / 2)  # its answer is there already
        if not self.failing:
            with self._writer.operation("end_run", workflow) as operation:
                _, waiting = await asyncio.wait([trail.saved], timeout=_END_S)
                if waiting:
                    operation.finish("slow")

    def secure(self) -> None:
        """Note everything new in the spool, before anybody sees it."""
        new = [spooled for trail in self._new if (spooled := trail.take_new())]
        self._new.clear()
        if new:
            self._spool.write(new)

    async def keep(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._alarm.wait()
            await self._commit()

    def probe(self) -> None:
        """Find out whether commits come about, since something else did not."""
        self._want(0)

    async def settle(self, timeout_s: float) -> bool:
        """Wait until nothing is left to commit; return whether that came about."""
        until = asyncio.get_running_loop().time() + timeout_s
        while self._trails or not self._pending.is_empty:
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(0.01)
        return True

    def _leave(self, run_id: str, asker: asyncio.Future[KeyConflict | None]) -> None:
        """Drop a run that was committed in the very moment in which its asker left."""
        if not asker.cancelled() and asker.exception() is None and asker.result() is None:
            self._pending.dropped.append(run_id)
            self._want(COMMIT_EVERY_S)

    def _noted(self, trail: PendingEvents) -> None:
        self._new.append(trail)
        if self._all_due == math.inf:
            self._all_due = asyncio.get_running_loop().time() + COMMIT_EVERY_S
            if not self.failing:
                self._alarm.set(self._all_due)

    def _want(self, within_s: float) -> None:
        """See to it that a commit begins within `within_s`, unless the database is in trouble."""
        if not self.failing:
            self._alarm.set(asyncio.get_running_loop().time() + within_s)

    def _take(self, *, everything: bool) -> Batch:
        """Return what is waited for and belongs to ending runs, or really `everything`."""
        self.secure()
        batch, self._pending = self._pending, Batch()
        trails: Iterable[PendingEvents | None] = self._trails.values()
        if everything:
            self._spool.turn()
            self._all_due = math.inf
        else:
            trails = [self._trails.get(ending.run_id) for ending in batch.endings]
            self._alarm.set(self._all_due)
        segments = (trail.segment() for trail in trails if trail)
        batch.segments += [segment for segment in segments if segment]
        return batch

    async def _commit(self) -> None:
        now = asyncio.get_running_loop().time
        everything = self.failing is not None or now() >= self._all_due
        since = min(now(), self._all_due - COMMIT_EVERY_S)
        batch = self._take(everything=everything)
        self._metrics.set_pending(batch.event_count, now() - since)
        try:
            taken = await self._writer.write(batch)
        except StorageUnavailable as error:
            self._put_back(batch, error)
        except Exception as error:  # noqa: BLE001  (whatever it is, it must not stop the others)
            await self._commit_apart(batch, error)
        else:
            self._committed(batch, taken)
        if self.failing:
            self._metrics.record_failure(self.failing.reason)
            self._all_due = since + COMMIT_EVERY_S
            return
        if everything:
            self._spool.committed()
        if batch.segments:
            self._metrics.record_commit(now() - since)
        if self._all_due == math.inf:
            self._metrics.set_pending(0, 0)

    async def _commit_apart(self, batch: Batch, error: Exception) -> None:
        """Commit each run by itself, since one of them cannot be: only that one is given up."""
        run_ids = batch.run_ids
        if len(run_ids) == 1:
            self._give_up(batch, error)
            return
        for done, run_id in enumerate(run_ids):
            part = batch.of_run(run_id)
            try:
                self._committed(part, await self._writer.write(part))
            except StorageUnavailable as trouble:
                for late in run_ids[done:]:
                    self._put_back(batch.of_run(late), trouble)
                return
            except Exception as fault:  # noqa: BLE001  (as above)
                self._give_up(part, fault)

    def _committed(self, batch: Batch, taken: dict[str, KeyConflict]) -> None:
        if self.failing:
            _log.warning("the database is back")
            self.failing = None
            self._want(COMMIT_EVERY_S)  # for what happened during this commit
        for opening in batch.openings:
            asker = self._askers.pop(opening.run_id)
            if not asker.done():
                asker.set_result(taken.get(opening.run_id))
            elif opening.run_id not in taken:  # who asked has left, or was told that it failed
                self._pending.dropped.append(opening.run_id)
        for ending in batch.endings:
            self._let_go(ending.run_id)
        if not self._pending.is_empty:
            self._want(COMMIT_EVERY_S)

    def _put_back(self, batch: Batch, error: StorageUnavailable) -> None:
        """Keep `batch` for the next attempt, but for the questions: who asked them is refused."""
        if not self.failing:
            _log.warning("cannot commit, new questions are refused: %s", error)
        self.failing = error
        self._refuse(batch, error)
        self._refuse(self._pending, error)
        # Whether they are in the database is not known.
        batch.dropped += [opening.run_id for opening in batch.openings]
        batch.openings, self._pending.openings = [], []
        self._pending = batch + self._pending
        self._alarm.set(asyncio.get_running_loop().time() + _RETRY_S)

    def _give_up(self, batch: Batch, error: Exception) -> None:
        _log.error("a run cannot be stored, which is a bug", exc_info=error)
        self._metrics.record_failure("other")
        self._refuse(batch, error)
        for ending in batch.endings:
            self._let_go(ending.run_id)

    def _refuse(self, batch: Batch, error: Exception) -> None:
        for opening in batch.openings:
            asker = self._askers.pop(opening.run_id)
            if not asker.done():
                asker.set_exception(error)

    def _let_go(self, run_id: str) -> None:
        if trail := self._trails.pop(run_id, None):
            trail.saved.set_result(None)
