"""Runs as the database has them: ended ones, and those that another process works on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta

from service.errors import RequestError, StorageUnavailable
from service.events import Event
from service.runs.journal.codec import decode_events
from service.runs.log import RunLog
from service.runs.projections.summary import broken_off
from service.runs.run import Run
from service.store.records import Segment, StoredRun
from service.store.runs import RunStore

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25  # as often as events are committed
_SAY_EVERY_S = 5.0
_WATCH_S = 15.0  # how long a run goes on after the last word that somebody reads it here


class StoredRuns:
    """Brings stored runs back as `Run`s with their log."""

    def __init__(self, tables: RunStore) -> None:
        self._tables = tables
        self._mirrors: dict[str, RemoteRun] = {}

    async def bring(self, stored: StoredRun) -> Run | StoredRun:
        """Return the run with its events, or as it is when they are no longer kept."""
        if stored.events_expired:
            return stored
        if stored.id in self._mirrors:
            return self._mirrors[stored.id]
        events = await self.events(stored)
        if stored.state == "running":
            return RemoteRun(as_run(stored, events), self)
        # They may have expired since `stored` was read: a log without an end is waited for.
        return as_run(stored, events) if events and events[-1].final else stored

    async def events(self, stored: StoredRun, after: int = 0) -> list[Event]:
        """Return the committed events of a run that follow event `after`."""
        segments = await self._tables.list_segments(stored.owner, stored.id, after)
        return events_of(segments, after)

    async def new_events(self, run: Run) -> list[Event]:
        """Return what has been committed since `run` was brought or last asked for.

        Raises RequestError 404 when the run has been deleted, 410 when its events have expired.
        """
        segments = await self._tables.list_segments(run.owner, run.id, len(run.log))
        if not segments:
            stored = await self._tables.get(run.owner, run.id)
            if stored is None:
                raise RequestError("run_not_found", "The run has been deleted.")
            if stored.events_expired:
                raise RequestError("run_expired", "The rest of this run is no longer kept.")
        return events_of(segments, len(run.log))

    async def say_watched(self, run: Run) -> None:
        """Tell the process that works on `run` that somebody reads it here."""
        until = datetime.now(UTC) + timedelta(seconds=_WATCH_S)
        await self._tables.mark_watched(run.owner, run.id, until)

    def joined(self, mirror: RemoteRun) -> None:
        self._mirrors[mirror.id] = mirror

    def left(self, mirror: RemoteRun) -> None:
        self._mirrors.pop(mirror.id, None)


class RemoteRun(Run):
    """A run that another process works on. Its log follows the database while it has readers."""

    def __init__(self, known: Run, shelf: StoredRuns) -> None:
        super().__init__(**vars(known))
        self._shelf = shelf
        self._following: asyncio.Task[None] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing that is not in the log: not while the end is not in it."""
        return self.log.finished

    def attach(self) -> None:
        """Note a reader, and follow the run from the first on."""
        super().attach()
        if self._following is None and not self.log.finished:
            self._shelf.joined(self)
            # Of no request: it reads for all who are here, and goes on when the first has left.
            loop = asyncio.get_running_loop()
            self._following = loop.create_task(self._follow(), context=Context())

    def detach(self) -> None:
        """Note that a reader left, and stop following after the last."""
        super().detach()
        if not self.readers and self._following:
            self._following.cancel()
            self._following = None
            self._shelf.left(self)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        say_at = loop.time()
        while not self.log.finished:
            try:
                if loop.time() >= say_at:
                    await self._shelf.say_watched(self)
                    say_at = loop.time() + _SAY_EVERY_S
                for event in await self._shelf.new_events(self):
                    self.log.append(event)
            except StorageUnavailable as error:
                _log.debug("cannot follow a run for now: %s", error)
            except RequestError as error:
                self.log.append(broken_off(self.log.after(0), error.code, error.message))
            if not self.log.finished:
                await asyncio.sleep(LOOK_EVERY_S)
        self._shelf.left(self)


def as_run(stored: StoredRun, events: Sequence[Event]) -> Run:
    """Return what is known of a stored run."""
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
        particulars=stored.particulars,
        log=RunLog(events),
    )


def events_of(segments: Sequence[Segment], after: int) -> list[Event]:
    """Return the events behind number `after`, as far as they follow one another."""
    events: list[Event] = []
    for segment in segments:
        here = decode_events(segment.data)
        expected = after + len(events) + 1
        if segment.first_seq > expected:
            break
        events += here[expected - segment.first_seq :]
    return events
