"""The results that an evaluation has already: in its state file, and in the cache of the store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from service.errors import (
    ContentFiltered,
    StorageUnavailable,
    TokensUsedUp,
    UpstreamContextExceeded,
    UpstreamEmpty,
    UpstreamInvalidRequest,
    UpstreamRefused,
)
from service.evaluation.panels.run_result import RunResult
from service.evaluation.running.state_file import EndLine, EndState, StateFile
from service.store.budgets.units import NANO_PER_USD
from service.store.evaluations.cache import EvaluationCache
from service.store.records import StoredRun
from service.store.runs import RunStore

CACHE_AGE: Final = timedelta(days=30)
MAX_CACHED: Final = 100_000

# Failures that another call of the same content repeats: they are results.
_FINAL_CODES: Final = frozenset(
    each.code
    for each in (
        UpstreamRefused, UpstreamInvalidRequest, UpstreamContextExceeded,
        UpstreamEmpty, TokensUsedUp, ContentFiltered,
    )
)  # fmt: skip
_COMMIT_S = 30.0  # the longest wait for the commit of an end


class KnownResults:
    """The runs that have answered requests. Methods raise StorageUnavailable, StateError.

    The state file comes first, so that an evaluation that continues has the answers of its start.
    With `is_fresh` the cache is not read. `sent` counts the answers that models were asked for,
    since the first start of the evaluation; `reused` those of the cache.
    """

    def __init__(
        self,
        store: RunStore,
        cache: EvaluationCache,
        state: StateFile,
        owner: str,
        *,
        is_fresh: bool,
    ) -> None:
        self.reused = 0
        self._store = store
        self._cache = cache
        self._state = state
        self._owner = owner
        self._is_fresh = is_fresh

    @property
    def sent(self) -> int:
        return self._state.calls

    @property
    def unanswered(self) -> int:
        """The number of runs without an answer that the next start sends again."""
        return sum(each.state == "transient" for each in self._state.ends.values())

    async def settle_open_starts(self) -> None:
        """Add the ends of runs that the file has only the starts of: the process had ended.

        The worst case counts for one that was interrupted.
        """
        for start in tuple(self._state.open_starts.values()):
            run = await self._store.get(self._owner, start.run_id)
            cost_nano = to_nano_usd(run.cost_usd) if run else 0
            state = _find_end_state(run) if run else "transient"
            if run is not None and run.state in ("running", "interrupted"):
                cost_nano = max(cost_nano, start.worst_nano)
            calls = 1 if run else 0
            self._state.note_ended(EndLine(start.key, start.run_id, state, cost_nano, calls))

    async def find(self, key: str) -> RunResult | None:
        """Return the result of a request; None if it is not known, or failed in an outage."""
        end = self._state.ends.get(key)
        if end and end.state != "transient" and (found := await self._read(end.run_id)):
            self.reused += 0 if end.calls else found.calls
            return found
        if self._is_fresh or end:
            return None
        since = datetime.now(UTC) - CACHE_AGE
        run_id = (await self._cache.find(self._owner, [key], since)).get(key)
        found = await self._read(run_id) if run_id else None
        if found is None or not found.is_answered:
            return None
        self._state.note_ended(EndLine(key, found.run_id, "answered"))
        self.reused += found.calls
        return found

    def note_started(self, key: str, run_id: str, worst_nano: int) -> None:
        """Add the start of a run."""
        self._state.note_started(key, run_id, worst_nano)

    async def add_end(self, key: str, run_id: str) -> RunResult:
        """Return a run of this process that has ended, after the commit of its end, and add it.

        Only complete answers, which no substitute wrote, are for other evaluations.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time() + _COMMIT_S
        while (found := await self._read(run_id)) is None or found.run is None:
            if loop.time() > latest:
                raise StorageUnavailable("The database has not stored the end of a run in time.")
            await asyncio.sleep(0.1)
        state, cost_nano = _find_end_state(found.run), to_nano_usd(found.run.cost_usd)
        self._state.note_ended(EndLine(key, run_id, state, cost_nano, found.calls))
        if state == "answered":
            await self._cache.add(self._owner, key, run_id, datetime.now(UTC))
        return found

    async def _read(self, run_id: str) -> RunResult | None:
        """Return a stored run that has ended; None for another one."""
        run = await self._store.get(self._owner, run_id)
        if run is None or run.state == "running":
            return None
        answers = await self._store.list_agent_answers(self._owner, run_id)
        return RunResult(run=run, reports={each.agent: each.report for each in answers})


def to_nano_usd(cost_usd: float | None) -> int:
    """Return an amount in billionths of a US dollar; an unknown one is 0."""
    return round((cost_usd or 0.0) * NANO_PER_USD)


def _find_end_state(run: StoredRun) -> EndState:
    """Return the end of a run; a failure that may not come again is transient."""
    if run.state == "completed" and run.answer.strip():
        return "degraded" if run.degraded_by else "answered"
    return "failed" if run.code in _FINAL_CODES else "transient"
