"""A cache in front of the database for rows that every request needs, such as its key.

A row is read at most once per minute, and so is the fact that there is none. Requests for unknown
ids share queries: whatever the number of requests, there is one query at a time and at most twenty
per second, and the memory is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from service.errors import StorageUnavailable
from telemetry import UnavailableReason

Found = TypeVar("Found")

_LIFETIME_S = 60.0
_QUERY_INTERVAL_S = 0.05
_IDS_PER_QUERY = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Found]):
    """A row, or None for the fact that there is none, and the time of its query."""

    row: Found | None
    read_at_s: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failed query. Each of its requests raises an error of its own: tracebacks hold frames."""

    message: str
    reason: UnavailableReason = "slow"
    retry_after_s: float = 2.0

    def make_error(self) -> StorageUnavailable:
        return StorageUnavailable(
            self.message, reason=self.reason, retry_after_s=self.retry_after_s
        )


_Outcome = _Entry[Found] | _Failure


class CachedLookup(Generic[Found]):
    """Finds rows by id. `load` reads those of several ids with one query.

    `max_cached` limits the cached rows, and apart from them the ids without one; `max_waiting` the
    ids that wait for a query.
    """

    def __init__(
        self,
        load: Callable[[Sequence[str]], Awaitable[Mapping[str, Found]]],
        read_clock_s: Callable[[], float] = monotonic,
        *,
        max_cached: int = 20_000,
        max_waiting: int = 5_000,
    ) -> None:
        self._load = load
        self._read_clock_s = read_clock_s
        self._max_cached = max_cached
        self._max_waiting = max_waiting
        self._found: dict[str, _Entry[Found]] = {}
        # Apart, so that a flood of unknown ids does not displace the others.
        self._missing: dict[str, _Entry[Found]] = {}
        self._waiting: dict[str, asyncio.Future[_Outcome[Found]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._generation = 0

    async def find(self, row_id: str) -> Found | None:
        """Return the row with this id, at most a minute old; None if there is none.

        Raises StorageUnavailable when it has to be read and the database cannot be used.
        """
        entry = self._found.get(row_id) or self._missing.get(row_id)
        if entry is None or self._read_clock_s() - entry.read_at_s >= _LIFETIME_S:
            # Shielded: other requests wait for the same result.
            outcome = await asyncio.shield(self._enqueue(row_id))
            if isinstance(outcome, _Failure):
                raise outcome.make_error()
            entry = outcome
        return entry.row

    def forget(self) -> None:
        """Forget all rows, also those of the query in progress, because some have changed."""
        self._generation += 1
        self._found.clear()
        self._missing.clear()

    def close(self) -> None:
        """Stop the query in progress; requests that wait for it fail."""
        if self._task:
            self._task.cancel()

    def _enqueue(self, row_id: str) -> asyncio.Future[_Outcome[Found]]:
        if waiting := self._waiting.get(row_id):
            return waiting
        if len(self._waiting) >= self._max_waiting:
            raise StorageUnavailable("Too many credentials wait to be checked.", reason="slow")
        result = self._waiting[row_id] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._answer_waiting())
        return result

    async def _answer_waiting(self) -> None:
        """Read rows until no request waits."""
        while self._waiting:
            ids = list(self._waiting)[:_IDS_PER_QUERY]
            outcomes: Mapping[str, _Outcome[Found]] = {}
            try:
                outcomes = await self._read(ids)
            finally:
                for row_id in ids:
                    outcome = outcomes.get(row_id, _Failure("The service is shutting down."))
                    if not (waiting := self._waiting.pop(row_id)).done():
                        waiting.set_result(outcome)
            await asyncio.sleep(_QUERY_INTERVAL_S)

    async def _read(self, ids: Sequence[str]) -> Mapping[str, _Outcome[Found]]:
        """Return an entry or a failure for each id, and cache the entries."""
        try:
            rows, read_at_s = await self._load_unchanged(ids)
        except StorageUnavailable as error:
            return dict.fromkeys(ids, _Failure(error.message, error.reason, error.retry_after_s))
        except Exception:  # noqa: BLE001  # the edge of a task: its requests must not wait forever
            _log.exception("unexpected error while reading credentials")
            return dict.fromkeys(ids, _Failure("Credentials cannot be checked.", "other"))
        entries = {row_id: _Entry(rows.get(row_id), read_at_s) for row_id in ids}
        for row_id, entry in entries.items():
            self._put(self._missing if entry.row is None else self._found, row_id, entry)
        return entries

    async def _load_unchanged(self, ids: Sequence[str]) -> tuple[Mapping[str, Found], float]:
        """Return rows and the time of their query, after which no row was forgotten."""
        while True:
            generation, read_at_s = self._generation, self._read_clock_s()
            rows = await self._load(ids)
            if generation == self._generation:
                return rows, read_at_s

    def _put(self, entries: dict[str, _Entry[Found]], row_id: str, entry: _Entry[Found]) -> None:
        """Store an entry as the newest one, and drop the oldest beyond the limit."""
        entries.pop(row_id, None)
        entries[row_id] = entry
        if len(entries) > self._max_cached:
            del entries[next(iter(entries))]
