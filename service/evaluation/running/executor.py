"""Executes the runs that an evaluation needs, each once, as runs that anyone can open later."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from service.access.principal import Principal
from service.conversation import Given
from service.domain import RunRequest
from service.ensembles.catalog import Catalog
from service.errors import RequestError, StorageUnavailable
from service.evaluation.panels.request import ModelRequest
from service.evaluation.panels.run_result import RunResult
from service.evaluation.running.halt import Halt
from service.evaluation.running.known_results import KnownResults, to_nano_usd
from service.evaluation.running.money import Money, RunMoney
from service.evaluation.running.state_file import StateError
from service.ids import new_id
from service.runs.budgets import RunBudgets
from service.runs.prepare import RunStart, Substitute
from service.runs.run import LiveRun
from service.runs.runs import Runs
from service.store.evaluations.cache import EvaluationCache
from service.store.runs import RunStore

TAG: Final = "evaluation"
"""The `user_id` of an evaluation's conversations, and the start of their message ids."""

_RECHECK_S = 1.0  # while other runs hold what a run needs
_MESSAGE_ID_CHARS = 256
_TITLE_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParts:
    """The parts of the service that an evaluation uses, and the owner of its runs."""

    runs: Runs
    store: RunStore
    cache: EvaluationCache
    budgets: RunBudgets
    catalog: Catalog
    principal: Principal


class Executor:
    """Returns the results of requests: the known ones, and those of runs that it starts.

    `slots` limits the runs at the same time. An outage of the store and a full disk stop the
    evaluation, as does the end of the budget.
    """

    def __init__(
        self, parts: ServiceParts, known: KnownResults, halt: Halt, money: Money, slots: int
    ) -> None:
        self.known = known
        self.halt = halt
        self.money = money
        self._parts = parts
        self._slots = asyncio.Semaphore(slots)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._results: dict[str, RunResult] = {}
        self._open = 0

    async def execute(self, request: ModelRequest) -> RunResult | None:
        """Return the result of a request; None if the evaluation stops before."""
        key = request.key
        async with self._locks[key]:  # contestants with the same request wait for its only run
            if key in self._results:
                return self._results[key]
            try:
                result = await self.known.find(key) or await self._send(request, key)
            except (StorageUnavailable, StateError) as error:
                self.halt.stop("failed", str(error))
                return None
            if result is not None:
                self._results[key] = result
            return result

    async def _send(self, request: ModelRequest, key: str) -> RunResult | None:
        async with self._slots:
            if self.halt:
                return None
            worst_nano = await self._estimate(request) if self.money.is_limited else 0
            money = await self.money.take(worst_nano)
            if money is None:
                self.halt.stop("budget", "The next answer could exceed --max-cost-usd.")
                return None
            try:
                return await self._run(request, key, money)
            finally:
                await self.money.settle(money)

    async def _run(self, request: ModelRequest, key: str, money: RunMoney) -> RunResult | None:
        try:
            run = await self._start(request, money)
        except RequestError as error:
            return self._refuse(error)
        if run is None:
            return None
        money.cost_nano = money.limit_nano or 0  # unless its end becomes known
        self.known.note_started(key, run.id, money.cost_nano)
        with self._parts.runs.attached(run), self._counting():
            await asyncio.shield(run.ended)
        result = await self.known.add_end(key, run.id)
        money.cost_nano = to_nano_usd(result.cost_usd)
        return result

    async def _start(self, request: ModelRequest, money: RunMoney) -> LiveRun | None:
        """Start a run once there is capacity; None if the evaluation stops before."""
        limits = [request.ensemble.max_cost_usd, money.limit_usd]
        limit = min((each for each in limits if each is not None), default=None)
        ensemble = replace(request.ensemble, max_cost_usd=limit)
        start = RunStart(
            self._make_run_request(request), substitute=Substitute(ensemble, request.reused)
        )
        while not self.halt:
            try:
                run = await self._parts.runs.open(start)
            except RequestError as error:
                if not self._may_wait(error):
                    raise
                await asyncio.sleep(_RECHECK_S)
            else:
                assert isinstance(run, LiveRun)  # noqa: S101  (there is no Idempotency-Key)
                return run
        return None

    def _may_wait(self, error: RequestError) -> bool:
        """Return whether a run that was refused can start once others have ended."""
        return error.code == "overloaded" or (_is_budget(error) and self._open > 0)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def _make_run_request(self, request: ModelRequest) -> RunRequest:
        question = " ".join(request.messages[0].content.split())
        return RunRequest(
            messages=request.messages,
            message_id=f"{TAG}-{request.question_id}-{request.name}"[:_MESSAGE_ID_CHARS],
            history=Given(new_id("conv")),
            ensemble=request.ensemble.name,
            principal=self._parts.principal,
            title=f"Evaluation of {request.name}: {question}"[:_TITLE_CHARS],
            user_id=TAG,
        )

    async def _estimate(self, request: ModelRequest) -> int:
        return await self._parts.budgets.estimate_nano_usd(
            self._make_run_request(request), request.ensemble, self._parts.catalog, request.reused
        )

    def _refuse(self, error: RequestError) -> RunResult | None:
        """Return the refusal as a result, or stop if every further run would be refused, too."""
        if _is_budget(error):
            self.halt.stop("budget", error.message)
            return None
        if error.code == "draining":
            self.halt.stop("failed", error.message)
            return None
        return RunResult(refusal=error.message)


def _is_budget(error: RequestError) -> bool:
    """Return whether a limit of the service refuses a run; not the limit of its ensemble."""
    return error.code in ("budget_exceeded", "rate_limited") and "Retry-After" in error.headers
