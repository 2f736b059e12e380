"""Commits the runs of this process to the database, all of them together every 250 ms.

A run's question is committed before a model is called, its end before a client receives the final
event, and an agent's answer soon after it is complete. Only opening and ending a run wait for the
database. Everything else is in the spool before a client receives it, and is committed later.
"""

from __future__ import annotations

import asyncio
import logging
import math

from service.coalescing import CoalescingWindow
from service.errors import StorageUnavailable
from service.events import Event
from service.runs.journal.callers import Caller, WaitingCallers, is_refusal
from service.runs.journal.pending import PendingEvents, PendingRuns
from service.runs.journal.spool import Spool
from service.runs.journal.timer import CommitTimer
from service.runs.log import RunLog
from service.runs.recovery.lease import Lease
from service.store.journal.batch import Batch, Opened, Written
from service.store.journal.writer import JournalWriter
from service.store.records import AgentAnswer, NewRun, RunEnd
from service.store.waiting import wait_within
from telemetry import JournalMetrics, Workflow

_log = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.25
_EARLY_S = 0.05  # a commit for another reason may take the place of the periodic one
_ANSWER_WINDOW_S = 0.03  # the answers of agents that finish within it share a commit
_RETRY_S = 0.5
_END_S = 2.0  # the longest delay of a final event by its commit


class Journal:
    """The only writer of this process's runs. Commits happen while the task of `run()` runs.

    While `failing`, the error of the last commit, is set, new runs are refused with it.
    """

    def __init__(
        self,
        writer: JournalWriter,
        spool: Spool,
        window: CoalescingWindow,
        timeout_s: float,
        metrics: JournalMetrics,
    ) -> None:
        self.failing: StorageUnavailable | None = None
        self.writer = writer
        self._spool = spool
        self._window = window
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._next = Batch()
        self._callers = WaitingCallers()
        self.pending = PendingRuns()
        self._timer = CommitTimer()
        self._full_commit_at = math.inf  # loop time of the next commit of all events

    async def open(self, opening: NewRun) -> Opened:
        """Commit a new run with its reservation; return the reason when it is refused.

        Raises StorageUnavailable within the time limit; a later commit of the run is undone.
        """
        if self.failing:
            raise self.failing.with_traceback(None)  # else it keeps the frames of every caller
        caller = self._callers.add(opening.run_id)
        self._next.openings.append(opening)
        self._commit_within(0)  # runs that are opened during a commit share the next one
        with self.writer.operation("open_run"):
            try:
                is_done = await wait_within(caller, self._timeout_s)
            except asyncio.CancelledError:
                self._withdraw(opening.run_id, caller)
                raise
            if is_done:
                return caller.result()
            caller.cancel()
            raise StorageUnavailable("The database takes too long.")

    def track(self, run_id: str, owner: str, log: RunLog) -> PendingEvents:
        """Commit the events of a run that was opened; announce each with `on_append`."""
        return self.pending.add(run_id, owner, log)

    def on_append(self, pending: PendingEvents) -> None:
        """Register an event that was appended to a run's log. Called for each event."""
        if pending.is_queued:
            return
        self.pending.queue(pending)
        if self._full_commit_at == math.inf:
            self._full_commit_at = asyncio.get_running_loop().time() + COMMIT_EVERY_S
            self._commit_within(COMMIT_EVERY_S)

    def flush_to_spool(self) -> None:
        """Write all new events to the spool. Called before a client receives any of them."""
        if entries := self.pending.take_new():
            self._spool.write(entries)

    def add_answer(self, answer: AgentAnswer) -> None:
        """Commit an agent's answer soon."""
        self._next.answers.append(answer)
        self._commit_within(_ANSWER_WINDOW_S + self._window.long_window_s)

    async def end(
        self,
        pending: PendingEvents,
        final: Event,
        ending: RunEnd,
        workflow: Workflow,
        lease: Lease,
    ) -> None:
        """Commit a run's end, including its final event, which is not in the log yet.

        Returns after the commit, and for a fenced run. While no other worker could end the run, it
        returns also when the database fails or is slow, after `final` is spooled.
        """
        if pending.is_fenced:
            return
        self.flush_to_spool()
        self._spool.write([pending.add([final])])
        self._next.endings.append(ending)
        self._commit_within(self._window.long_window_s / 2)  # the client has the answer already
        if self.failing and lease.is_exclusive:
            return
        with self.writer.operation("end_run", workflow) as operation:
            while not pending.closed.done():
                _, waiting = await asyncio.wait([pending.closed], timeout=_END_S)
                if waiting and lease.is_exclusive:
                    operation.finish("slow")
                    break

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._timer.wait()
            await self._commit()

    def probe(self) -> None:
        """Commit now to find out whether the database works, after another access failed."""
        self._commit_within(0)

    async def settle(self, timeout_s: float) -> bool:
        """Wait until everything is committed; return whether it is, within `timeout_s`."""
        until = asyncio.get_running_loop().time() + timeout_s
        while not (is_settled := self.pending.is_empty and self._next.is_empty):
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(0.01)
        return is_settled

    def _withdraw(self, run_id: str, caller: Caller) -> None:
        """Remove the run of a caller that leaves, also when it was committed just before."""
        if not caller.cancel() and not caller.exception() and not is_refusal(caller.result()):
            self._next.dropped.append(run_id)
            self._commit_within(COMMIT_EVERY_S)

    def _commit_within(self, seconds: float) -> None:
        """Start a commit within `seconds`; while the database fails, `_RETRY_S` decides."""
        if not self.failing:
            self._timer.set(asyncio.get_running_loop().time() + seconds)

    def _take_batch(self, *, with_all_events: bool) -> Batch:
        """Return the next batch: with the events of all runs, or only of those that end."""
        self.flush_to_spool()
        batch, self._next = self._next, Batch()
        if with_all_events:
            self._spool.switch()
            self._full_commit_at = math.inf
            batch.segments += self.pending.take_segments()
        else:
            self._timer.set(self._full_commit_at)
            batch.segments += self.pending.take_segments([each.run_id for each in batch.endings])
        return batch

    async def _commit(self) -> None:
        now = asyncio.get_running_loop().time
        with_all_events = bool(self.failing) or now() >= self._full_commit_at - _EARLY_S
        since = min(now(), self._full_commit_at - COMMIT_EVERY_S)
        batch = self._take_batch(with_all_events=with_all_events)
        self._metrics.set_pending(batch.event_count, now() - since)
        try:
            written = await self.writer.write(batch)
        except StorageUnavailable as error:
            self._put_back(batch, error)
        except Exception as error:  # noqa: BLE001  (an unexpected error must not stop other runs)
            await self._commit_each_run(batch, error)
        else:
            self._on_committed(batch, written)
        if self.failing:
            self._metrics.record_failure(self.failing.reason)
            self._full_commit_at = since + COMMIT_EVERY_S
            return
        if with_all_events and not self.pending.has_fenced:
            self._spool.clear_committed()
        if batch.segments:
            self._metrics.record_commit(now() - since)
        if self._full_commit_at == math.inf:
            self._metrics.set_pending(0, 0)

    async def _commit_each_run(self, batch: Batch, error: Exception) -> None:
        """Commit each run in its own batch, so that only the run that causes `error` is lost."""
        run_ids = batch.run_ids
        if len(run_ids) == 1:
            self._give_up(batch, error)
            return
        for done, run_id in enumerate(run_ids):
            part = batch.of_run(run_id)
            try:
                self._on_committed(part, await self.writer.write(part))
            except StorageUnavailable as unavailable:
                for late in run_ids[done:]:
                    self._put_back(batch.of_run(late), unavailable)
                return
            except Exception as fault:  # noqa: BLE001  (as above)
                self._give_up(part, fault)

    def _on_committed(self, batch: Batch, written: Written) -> None:
        if self.failing:
            _log.warning("the database works again")
            self.failing = None
            self._commit_within(COMMIT_EVERY_S)  # the events that were added during this commit
        self._next.dropped += self._callers.resolve(batch.openings, written)
        for run_id in written.fenced:
            self.pending.fence(run_id)
        self.pending.close(batch.endings)
        if not self._next.is_empty:
            self._commit_within(COMMIT_EVERY_S)

    def _put_back(self, batch: Batch, error: StorageUnavailable) -> None:
        """Retry `batch` later without its new runs, which are refused with `error`."""
        if not self.failing:
            _log.warning("cannot commit, new runs are refused: %s", error)
        self.failing = error
        self._callers.refuse(batch.openings, error)
        self._callers.refuse(self._next.openings, error)
        # Whether the commit reached the database is unknown.
        batch.dropped += [opening.run_id for opening in batch.openings]
        batch.openings, self._next.openings = [], []
        self._next = batch + self._next
        self._timer.set(asyncio.get_running_loop().time() + _RETRY_S)

    def _give_up(self, batch: Batch, error: Exception) -> None:
        _log.error("unexpected error while storing a run; it is not stored", exc_info=error)
        self._metrics.record_failure("other")
        self._callers.refuse(batch.openings, error)
        self.pending.close(batch.endings)
