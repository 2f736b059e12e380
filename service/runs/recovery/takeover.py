"""Runs of this worker that another one has taken over, because it took this one for stale.

The other worker ends them. Here the work is cancelled, the events that the database lacks are added
to it, and readers receive the final event of the database, as those of the other worker do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context

from service.errors import StorageUnavailable
from service.events import Event
from service.runs.journal.journal import Journal
from service.runs.journal.pending import PendingEvents
from service.runs.projections.summary import make_run_failed
from service.runs.recovery.late import add_late_events
from service.runs.run import LiveRun
from service.runs.transport.database import StoredRuns

_log = logging.getLogger(__name__)

_RETRY_S = 0.5


class Takeovers:
    """Waits for the ends of such runs."""

    def __init__(self, stored_runs: StoredRuns, journal: Journal) -> None:
        self._stored_runs = stored_runs
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, run: LiveRun, pending: PendingEvents, on_end: Callable[[], object]) -> None:
        """Stop the work of `run`, wait for its stored end, log it, and call `on_end`."""
        _log.warning("another worker has taken over a run", extra={"run_id": run.id})
        following = self._follow(run, pending, on_end)
        task = asyncio.get_running_loop().create_task(following, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(
        self, run: LiveRun, pending: PendingEvents, on_end: Callable[[], object]
    ) -> None:
        try:
            await run.stop_for_takeover()
            while (end := await self._settle(run)) is None:
                await asyncio.sleep(_RETRY_S)
        except Exception:  # noqa: BLE001  (the edge of the task)
            _log.exception("unexpected error in a run that was taken over")
            end = _fail(run, "internal_error", "The service failed; this has been logged.")
        run.take_end(*end)
        self._journal.pending.release_fenced(pending)
        on_end()

    async def _settle(self, run: LiveRun) -> tuple[Event, int] | None:
        """Store the events that only this worker has; return the stored end, None before it."""
        events = run.log.after(0)
        try:
            stored = await self._stored_runs.get(run)
            if stored is None:
                return _fail(run, "run_not_found", "The run has been deleted.")
            if stored.events_expired:
                return _fail(run, "run_expired", "The rest of this run has expired.")
            if stored.state == "running":
                return None
            if not await add_late_events(self._journal.writer, stored, events):
                return None
            final = (await self._stored_runs.load_events(stored, stored.last_seq - 1))[-1:]
        except StorageUnavailable as error:
            _log.debug("cannot read a run that was taken over: %s", error)
            return None
        return (final[0], stored.last_seq) if final else None


def _fail(run: LiveRun, code: str, message: str) -> tuple[Event, int]:
    return make_run_failed(run.log.after(0), code, message), len(run.log) + 1
