"""All runs of this process: start, attach, cancel, drain."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.domain import Ask
from service.ensembles import Agent, Catalog, Ensemble
from service.errors import FieldError, RequestError
from service.events import RunFailed, RunFinished, RunStarted
from service.ids import new_id
from service.llm.client import LLMClient
from service.llm.resilience import RetryBudget
from service.pace import Pace
from service.runs.log import Reader
from service.runs.record import CANCELLED_CODES
from service.runs.run import CANCELLED, SHUTTING_DOWN, Run
from service.strategies import STRATEGIES, Kit
from telemetry import Telemetry, Workflow, bind_log, current_request

_log = logging.getLogger("service.run")

_REMEMBERED_IDS = 20_000
_FLUSH_S = 3.0  # for the last events to reach their readers once a drain has ended their runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of what is kept in memory. Seconds and bytes."""

    open_runs: int
    retention_s: float
    log_bytes: int
    detach_grace_s: float
    keep_alive_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What runs are made with. `catalog` is asked anew for each run: the file may have changed."""

    catalog: Callable[[], Catalog]
    client: LLMClient
    keys: Callable[[Agent], str | None]
    budget: RetryBudget
    telemetry: Telemetry
    pace: Pace


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key, and a fingerprint of the request it came with."""

    key: str
    fingerprint: bytes


class Runs:
    """Every running run, and the finished ones for as long as they are kept."""

    def __init__(self, tools: Tools, limits: Limits) -> None:
        self.draining = False
        self._tools = tools
        self._limits = limits
        self._open: dict[str, Run] = {}
        self._finished: OrderedDict[str, Run] = OrderedDict()
        self._finished_bytes = 0
        self._expired: OrderedDict[str, str] = OrderedDict()  # whose they were
        self._by_key: dict[tuple[str, str], tuple[bytes, Run]] = {}

    def start(self, ask: Ask, key: IdempotencyKey | None = None) -> Run:
        """Begin answering `ask` and return at once; or return the run that `key` already began.

        Raises RequestError: 400 unknown ensemble, 422 key reused, 503 draining or overloaded.
        """
        if key and (known := self._by_key.get((ask.owner, key.key))):
            if known[0] != key.fingerprint:
                raise RequestError(
                    422, "idempotency_key_reused", "This Idempotency-Key came with another body."
                )
            return known[1]
        self._admit()
        catalog = self._tools.catalog()
        ensemble = catalog.ensembles.get(ask.ensemble or catalog.default)
        if ensemble is None:
            there_are = ", ".join(sorted(catalog.ensembles))
            fault = FieldError("ensemble", f"there is no such ensemble; there are: {there_are}")
            raise RequestError(400, "unknown_ensemble", f"Ensemble: {fault.message}.", [fault])
        run = self._begin(ask, ensemble, catalog)
        if key:
            run.idempotency_key = key.key
            self._by_key[ask.owner, key.key] = key.fingerprint, run
        return run

    def get(self, run_id: str, owner: str) -> Run:
        """Return a run of `owner`. Raises RequestError 404, or 410 when it is no longer kept."""
        run = self._open.get(run_id) or self._finished.get(run_id)
        if run is not None and run.ask.owner == owner:
            return run
        if self._expired.get(run_id) == owner:
            raise RequestError(410, "run_expired", "This run is no longer kept.")
        raise RequestError(404, "run_not_found", "There is no such run.")

    @contextmanager
    def reading(self, run: Run, after: int = 0) -> Iterator[Reader]:
        """Attach a reader behind event number `after` for as long as the block lasts."""
        telemetry = self._tools.telemetry
        reader = Reader(run.log, after, self._tools.pace, self._limits.keep_alive_s)
        run.attach()
        telemetry.stream_opened()
        try:
            yield reader
        finally:
            reader.close()
            run.detach()
            unread = not run.log.finished or reader.delivered < len(run.log)
            telemetry.stream_closed(disconnected=unread)

    def note_resumed(self, run: Run) -> None:
        """Count a connection that comes back to `run` and link its trace to the run's."""
        self._tools.telemetry.resumed(run.span_context)

    async def cancel(self, run: Run) -> None:
        """Stop `run` and wait for its final event; nothing to do when it has ended."""
        run.stop(CANCELLED)
        await asyncio.shield(run.ended)

    async def drain(self, timeout_s: float) -> None:
        """Refuse new runs, let the open ones finish within `timeout_s`, then end them.

        Every reader gets its final event, as far as it takes it.
        """
        self.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._open:
                    await asyncio.shield(next(iter(self._open.values())).ended)
        except TimeoutError:
            _log.warning("ending %d runs that did not finish in time", len(self._open))
        ending = list(self._open.values())
        for run in ending:
            run.stop(SHUTTING_DOWN)
        deadline = asyncio.get_running_loop().time() + _FLUSH_S
        everyone = (*ending, *self._finished.values())
        while any(run.readers or not run.log.finished for run in everyone):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.02)

    def _admit(self) -> None:
        if self.draining:
            raise RequestError(
                503, "draining", "The service is shutting down.", headers={"Retry-After": "5"}
            )
        if len(self._open) >= self._limits.open_runs:
            raise RequestError(
                503,
                "overloaded",
                "Too many runs are open; please try again shortly.",
                headers={"Retry-After": "2"},
            )

    def _begin(self, ask: Ask, ensemble: Ensemble, catalog: Catalog) -> Run:
        tools, run_id = self._tools, new_id("run")
        agents = tuple(agent.name for agent in ensemble.agents)
        workflow = tools.telemetry.start_workflow(
            ensemble.name,
            run_id=run_id,
            conversation_id=ask.conversation_id,
            config_hash=ensemble.config_hash,
            agents=agents,
            parent=current_request(),
        )
        bind_log(run_id=run_id, conversation_id=ask.conversation_id)
        timeout_s = min(ensemble.timeout_s, ask.timeout_s or ensemble.timeout_s)
        kit = Kit(
            client=tools.client,
            ensemble=ensemble,
            keys=tools.keys,
            prices=catalog.prices,
            budget=tools.budget,
            workflow=workflow,
            deadline=asyncio.get_running_loop().time() + timeout_s,
        )
        run = Run(run_id, ask, ensemble, workflow, self._limits.detach_grace_s)
        run.log.append(RunStarted(run_id, run.trace_id, ensemble.name, agents))
        self._open[run_id] = run

        def ended(run: Run, final: RunFinished | RunFailed) -> None:
            self._account(run, final, workflow)
            self._keep(run)

        strategy = STRATEGIES[ensemble.strategy]
        run.begin(strategy.run(ask, kit, run.emit), kit, timeout_s, ended)
        return run

    def _keep(self, run: Run) -> None:
        """Move a run from the open to the finished ones, and make room for it."""
        del self._open[run.id]
        self._finished[run.id] = run
        self._finished_bytes += run.size_bytes
        asyncio.get_running_loop().call_later(self._limits.retention_s, self._expire, run.id)
        while self._finished_bytes > self._limits.log_bytes:
            self._expire(next(iter(self._finished)))
        run.ended.set_result(None)

    def _account(self, run: Run, final: RunFinished | RunFailed, workflow: Workflow) -> None:
        outcome, error_type = "completed", None
        if isinstance(final, RunFailed):
            outcome = "cancelled" if final.code in CANCELLED_CODES else "failed"
            error_type = final.code
        workflow.finish(
            outcome,
            error_type=error_type if outcome == "failed" else None,
            message=final.message if isinstance(final, RunFailed) else "",
            input_tokens=final.usage.input_tokens,
            output_tokens=final.usage.output_tokens,
            cost_usd=final.cost,
        )
        fields = {"outcome": outcome, "ensemble": run.ensemble.name, "elapsed_ms": final.elapsed_ms}
        if error_type:
            fields["error_type"] = error_type
        _log.info("run %s", outcome, extra=fields)

    def _expire(self, run_id: str) -> None:
        run = self._finished.pop(run_id, None)
        if run is None:
            return
        self._finished_bytes -= run.size_bytes
        if run.idempotency_key:
            del self._by_key[run.ask.owner, run.idempotency_key]
        self._expired[run_id] = run.ask.owner
        while len(self._expired) > _REMEMBERED_IDS:
            self._expired.popitem(last=False)
