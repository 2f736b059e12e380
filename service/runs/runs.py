"""All runs: start, find, read, cancel, retry, drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from service.access.principal import Principal
from service.domain import RunRequest
from service.errors import RequestError
from service.events import RunStarted
from service.runs.idempotency import check_conflict, resolve_key
from service.runs.journal.journal import Journal
from service.runs.journal.pending import PendingEvents
from service.runs.launcher import Launcher, RunDependencies
from service.runs.log import Reader
from service.runs.prepare import Preparer, RunStart
from service.runs.recovery.lease import Lease
from service.runs.recovery.takeover import Takeovers
from service.runs.retry import RETRYABLE, make_not_retryable, make_retry, read_latest, read_run
from service.runs.run import LiveRun, Run
from service.runs.settings import Admit, IdempotencyKey, Limits, admit_all
from service.runs.stop_reasons import CANCELLED, SHUTTING_DOWN
from service.runs.transport.database import WATCHED_S, StoredRuns
from service.store.budgets.records import BudgetShortage
from service.store.records import KeyConflict, StoredRun
from service.store.runs import RunStore
from service.store.workers import Signal

_log = logging.getLogger(__name__)

_FLUSH_S = 3.0  # for the last events to reach their readers after a drain ended their runs
_CANCEL_S = 5.0  # for another worker to receive the signal, or for the commit of the end


class Runs:
    """Every run: those of this process, and through the store all others."""

    def __init__(
        self,
        dependencies: RunDependencies,
        limits: Limits,
        store: RunStore,
        journal: Journal,
        lease: Lease,
    ) -> None:
        self.draining = False
        self.journal = journal
        self._dependencies = dependencies
        self._limits = limits
        self._store = store
        self._lease = lease
        self._stored_runs = StoredRuns(store)
        self._takeovers = Takeovers(self._stored_runs, journal)
        self._preparer = Preparer(store, limits, lease.worker_id, dependencies.budgets)
        self._launcher = Launcher(dependencies, journal, limits.detach_grace_s, lease)
        self._open: dict[str, LiveRun] = {}  # by id, until their end is committed
        self._opening = 0
        self._read: set[Run] = set()  # with a reader in this process

    async def start(
        self, request: RunRequest, key: IdempotencyKey | None = None, admit: Admit = admit_all
    ) -> Run:
        """Commit the question and start to answer it; or return the run that `key` already has.

        `admit` may refuse to start a run. Raises RequestError: 400 unknown ensemble, 422 key
        reused, 503 draining or overloaded; and StorageUnavailable.
        """
        start = await resolve_key(request, key, self._store, self._open)
        if isinstance(start, RunStart):
            return await self.open(start, admit)
        return await self.find(start, request.owner)

    async def retry(self, run_id: str, principal: Principal, admit: Admit = admit_all) -> Run:
        """Start a run that takes the place of one that failed, was interrupted or cancelled.

        Agents that answered are not called again. Returns the existing run if one has the place
        already. Raises RequestError 404, 409.
        """
        stored = await read_latest(self._store, principal.owner, run_id)
        if stored.state in RETRYABLE:
            return await self.open(make_retry(stored, principal), admit)
        if stored.id == run_id:
            raise make_not_retryable(stored)
        return await self.find(stored.id, principal.owner)

    async def find(self, run_id: str, owner: str) -> Run:
        """Return a run of `owner` with its log.

        Raises RequestError 404, or 410 when its events have expired.
        """
        run = await self.get(run_id, owner)
        if isinstance(run, StoredRun):
            raise RequestError("run_expired", "The events of this run have expired.")
        return run

    async def get(self, run_id: str, owner: str) -> Run | StoredRun:
        """Return a run of `owner`; a StoredRun, which has no log, when its events have expired.

        Raises RequestError 404.
        """
        run = self._open.get(run_id)
        if run is not None and run.owner == owner and self._lease.is_held:
            return run  # without a lease, another worker may have ended it
        return await self._stored_runs.load(await read_run(self._store, owner, run_id))

    @contextmanager
    def reading(self, run: Run, after: int = 0) -> Iterator[Reader]:
        """Attach a client's reader behind event number `after` for the time of the block."""
        telemetry = self._dependencies.telemetry
        with self.attached(run, after) as reader:
            telemetry.record_stream_opened()
            try:
                yield reader
            finally:
                unread = not run.log.finished or reader.delivered < run.log.last_seq
                telemetry.record_stream_closed(disconnected=unread)

    @contextmanager
    def attached(self, run: Run, after: int = 0) -> Iterator[Reader]:
        """Attach a reader that is not counted as a client's stream, as `reading` does."""
        keep_alive_s, flush = self._limits.keep_alive_s, self.journal.flush_to_spool
        lease = self._lease if isinstance(run, LiveRun) else None
        reader = Reader(run.log, after, keep_alive_s, flush, lease)
        run.attach()
        self._read.add(run)
        try:
            yield reader
        finally:
            reader.close()
            run.detach()
            if not run.readers:
                self._read.discard(run)

    def note_resumed(self, run: Run) -> None:
        """Count a client that resumes reading `run` and link its trace to the run's."""
        started = next(iter(run.log.after(0)), None)
        span_id = started.span_id if isinstance(started, RunStarted) else ""
        self._dependencies.telemetry.record_resume(run.trace_id, span_id)

    async def cancel(self, run: Run) -> None:
        """Stop `run` and wait for its final event, within 5 s. Does nothing after its end."""
        if isinstance(run, LiveRun):
            run.stop(CANCELLED)
            await asyncio.wait([run.ended], timeout=_CANCEL_S)
        elif not run.log.finished:
            await self._store.request_stop(run.owner, run.id)
            with self.reading(run, run.log.last_seq), suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_S):
                    while not run.log.is_over:
                        await asyncio.sleep(0.05)

    async def cancel_all(self, owner: str, run_ids: Iterable[str]) -> None:
        """Cancel several runs of `owner`, also those of other workers."""
        for run_id in run_ids:
            run = await self.get(run_id, owner)
            if isinstance(run, Run):
                await self.cancel(run)

    def apply_signals(self, signals: Iterable[Signal]) -> None:
        """Stop or extend runs of this process as other workers request it."""
        for signal in signals:
            run = self._open.get(signal.run_id)
            if run and signal.stop:
                run.stop(CANCELLED)
            elif run:  # the signal stays in the database and is read repeatedly
                run.note_watched(signal.watched, WATCHED_S)

    def list_open_ids(self) -> list[str]:
        """Return the ids of the open runs of this process."""
        return list(self._open)

    def wake_readers(self) -> None:
        """Let readers continue after a time without a lease."""
        for run in self._read:
            run.log.wake_readers()

    @property
    def open_count(self) -> int:
        """The number of open runs of this process."""
        return len(self._open)

    def check_accepting(self) -> None:
        """Raise RequestError 503 while the service drains."""
        if self.draining:
            raise RequestError(
                "draining", "The service is shutting down.", headers={"Retry-After": "5"}
            )

    async def drain(self, timeout_s: float) -> None:
        """Refuse new runs, let the open ones finish within `timeout_s`, then stop them.

        Waits up to 3 s more until every reader has received its final event.
        """
        self.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._is_busy:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            _log.warning("stopping %d runs that did not finish in time", len(self._open))
        deadline = asyncio.get_running_loop().time() + _FLUSH_S
        while self._read or self._is_busy:
            for run in self._open.values():
                run.stop(SHUTTING_DOWN)
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.02)
        for read in self._read:  # runs of other workers
            read.log.release_readers()

    @property
    def _is_busy(self) -> bool:
        """Whether a new run is being committed or a run has not ended."""
        return self._opening > 0 or not all(run.log.finished for run in self._open.values())

    async def open(self, start: RunStart, admit: Admit = admit_all) -> Run:
        """Commit the question and start to answer it. Raises as `start` does."""
        self._check_capacity()
        self._opening += 1
        try:
            await admit(start.request.ensemble)
            prepared = await self._preparer.prepare(start, self._dependencies.catalog())
            opened = await self.journal.open(prepared.opening)
        finally:
            self._opening -= 1
        if isinstance(opened, BudgetShortage):
            raise self._dependencies.budgets.refuse(opened, start.request.principal)
        if isinstance(opened, KeyConflict):
            check_conflict(start.key, opened)
            return await self.find(opened.run_id, start.request.owner)
        run, pending = self._launcher.launch(prepared, opened.states if opened else ())
        self._open[run.id] = run
        pending.closed.add_done_callback(lambda _: self._on_closed(run, pending))
        return run

    def _on_closed(self, run: LiveRun, pending: PendingEvents) -> None:
        if pending.is_fenced:
            self._takeovers.follow(run, pending, lambda: self._open.pop(run.id))
        else:
            self._open.pop(run.id)

    def _check_capacity(self) -> None:
        self.check_accepting()
        self._lease.check()
        if len(self._open) + self._opening >= self._limits.open_runs:
            sentence = "Too many runs are open; please try again shortly."
            raise RequestError("overloaded", sentence, headers={"Retry-After": "2"})
