"""Runs that are read from the database: ended runs, and running ones of other workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextvars import Context

from service.errors import RequestError, StorageUnavailable
from service.events import Event
from service.runs.journal.codec import decode_events
from service.runs.log import RunLog
from service.runs.projections.summary import make_run_failed
from service.runs.run import Run
from service.store.records import Segment, StoredRun
from service.store.runs import RunStore

_log = logging.getLogger(__name__)

_POLL_EVERY_S = 0.25  # the interval of commits
_MARK_EVERY_S = 5.0
WATCHED_S = 15.0  # how long a run continues after it was last marked as watched


class StoredRuns:
    """Loads stored runs with their logs."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._remote_runs: dict[str, RemoteRun] = {}

    async def load(self, stored: StoredRun) -> Run | StoredRun:
        """Return the run with its events, or `stored` itself when they have expired."""
        if stored.events_expired:
            return stored
        if stored.id in self._remote_runs:
            return self._remote_runs[stored.id]
        segments = await self._store.list_segments(stored.owner, stored.id)
        events = await _join_slowly(segments, 0)
        is_ended = bool(events) and events[-1].final  # perhaps after `stored` was read
        run = make_run(stored, RunLog(events, segments[-1].last_seq if is_ended else None))
        if stored.state == "running":
            return RemoteRun(run, self)
        # The events can expire after `stored` was read, and readers of a log without an end wait.
        return run if is_ended else stored

    async def get(self, run: Run) -> StoredRun | None:
        """Return the stored state of a run."""
        return await self._store.get(run.owner, run.id)

    async def load_events(self, stored: StoredRun, after: int = 0) -> list[Event]:
        """Return the committed events of a run that follow event `after`."""
        segments = await self._store.list_segments(stored.owner, stored.id, after)
        return await _join_slowly(segments, after)

    async def load_new_events(self, run: Run) -> tuple[list[Event], int]:
        """Return the committed events that the log of `run` does not have, and the last number.

        Raises RequestError 404 when the run was deleted, 410 when its events have expired.
        """
        segments = await self._store.list_segments(run.owner, run.id, len(run.log))
        if not segments:
            stored = await self._store.get(run.owner, run.id)
            if stored is None:
                raise RequestError("run_not_found", "The run has been deleted.")
            if stored.events_expired:
                raise RequestError("run_expired", "The rest of this run has expired.")
        events = await _join_slowly(segments, len(run.log))
        return events, max((each.last_seq for each in segments), default=0)

    async def mark_watched(self, run: Run) -> None:
        """Signal to the worker of `run` that it has a reader here."""
        await self._store.mark_watched(run.owner, run.id)

    def register(self, run: RemoteRun) -> None:
        self._remote_runs[run.id] = run

    def unregister(self, run: RemoteRun) -> None:
        self._remote_runs.pop(run.id, None)


class RemoteRun(Run):
    """A run of another worker. While it has readers, its log follows the database."""

    def __init__(self, known: Run, stored_runs: StoredRuns) -> None:
        super().__init__(**vars(known))
        self._stored_runs = stored_runs
        self._follow_task: asyncio.Task[None] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the log has all events so far: only after its end, since the log lags behind."""
        return self.log.finished

    def attach(self) -> None:
        """Count a new reader; start to follow the database with the first one."""
        super().attach()
        if self._follow_task is None and not self.log.finished:
            self._stored_runs.register(self)
            # In an empty context: it serves all readers, and continues after the first has left.
            loop = asyncio.get_running_loop()
            self._follow_task = loop.create_task(self._follow(), context=Context())

    def detach(self) -> None:
        """Count that a reader left; stop to follow the database after the last one."""
        super().detach()
        if not self.readers and self._follow_task:
            self._follow_task.cancel()
            self._follow_task = None
            self._stored_runs.unregister(self)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        mark_at = loop.time()
        while not self.log.finished:
            try:
                if loop.time() >= mark_at:
                    await self._stored_runs.mark_watched(self)
                    mark_at = loop.time() + _MARK_EVERY_S
                events, last_seq = await self._stored_runs.load_new_events(self)
                for event in events:
                    self.log.append(event, last_seq if event.final else None)
            except StorageUnavailable as error:
                _log.debug("cannot load new events of a run: %s", error)
            except RequestError as error:
                self.log.append(make_run_failed(self.log.after(0), error.code, error.message))
            if not self.log.finished:
                await asyncio.sleep(_POLL_EVERY_S)
        self._stored_runs.unregister(self)


def make_run(stored: StoredRun, log: RunLog) -> Run:
    """Return a stored run with its log as a Run."""
    return Run(
        id=stored.id,
        owner=stored.owner,
        message_id=stored.message_id,
        conversation_id=stored.conversation_id,
        ensemble_name=stored.ensemble,
        config_hash=stored.config_hash,
        trace_id=stored.trace_id,
        created_at=stored.created_at,
        retry_of=stored.retry_of,
        options=stored.options,
        log=log,
    )


def join_segments(segments: Sequence[Segment], after: int) -> list[Event]:
    """Return the events behind event number `after`, up to the first gap, and the final event.

    A gap before the final event remains where a run was ended by a worker that could not know the
    last events of another one.
    """
    return [event for part in _decode_segments(segments, after) for event in part]


async def _join_slowly(segments: Sequence[Segment], after: int) -> list[Event]:
    """Do the same, and let other tasks run: the events of a long run take half a second."""
    events: list[Event] = []
    for part in _decode_segments(segments, after):
        events += part
        await asyncio.sleep(0)
    return events


def _decode_segments(segments: Sequence[Segment], after: int) -> Iterator[list[Event]]:
    expected = after + 1
    for segment in segments:
        here = decode_events(segment.data)
        if segment.first_seq > expected:
            if here[0].final:
                yield here
            return
        new = here[expected - segment.first_seq :]
        expected += len(new)
        yield new
