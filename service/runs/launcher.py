"""Starts runs: their span, their log, their strategy, and the commit of their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from service.coalescing import CoalescingWindow
from service.domain import AgentReport
from service.ensembles.catalog import Agent, Catalog, Ensemble
from service.events import Event, RunFailed, RunFinished, RunStarted
from service.llm.client import LLMClient
from service.llm.endpoints.hedges import HedgeBudgets
from service.llm.endpoints.pace import AgentPaces
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import TokenCounter
from service.runs.budgets import RunBudgets
from service.runs.journal.journal import Journal
from service.runs.journal.pending import PendingEvents
from service.runs.log import RunLog
from service.runs.projections.recording import encode_recording
from service.runs.projections.rows import make_agent_answer, make_final_answers, make_run_end
from service.runs.projections.summary import get_end_state, make_run_failed
from service.runs.recovery.lease import Lease
from service.runs.run import LiveRun, Run
from service.runs.stop_reasons import INTERRUPTED
from service.store.budgets.records import BudgetState
from service.store.records import NewRun, RunEnd
from service.strategies import Kit, run_strategy
from service.strategies.spending.pool import Spending, UnlimitedSpending
from telemetry import Telemetry, Workflow, bind_log, current_request

_log = logging.getLogger("service.run")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDependencies:
    """The clients and tables that runs use.

    `catalog` is called for each run, because the ensembles file can change.
    """

    catalog: Callable[[], Catalog]
    client: LLMClient
    keys: Callable[[Agent], str | None]
    budget: RetryBudget
    telemetry: Telemetry
    pace: CoalescingWindow
    tokens: TokenCounter
    paces: AgentPaces = field(default_factory=AgentPaces)
    hedges: HedgeBudgets = field(default_factory=HedgeBudgets)
    budgets: RunBudgets


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A run to start: its row in the database, and the agents that answer it.

    `retention` is how long its events stay readable after the end. `reused` are the
    answers, by agent, of the run that it retries.
    """

    opening: NewRun
    ensemble: Ensemble
    catalog: Catalog
    retention: timedelta
    reused: Mapping[str, AgentReport] = field(default_factory=dict)
    spending: Spending = field(default_factory=UnlimitedSpending)


class Launcher:
    """Starts runs after their commit."""

    def __init__(
        self, dependencies: RunDependencies, journal: Journal, grace_s: float, lease: Lease
    ) -> None:
        self._dependencies = dependencies
        self._journal = journal
        self._lease = lease
        self._grace_s = grace_s

    def launch(
        self, prepared: PreparedRun, budgets: Sequence[BudgetState]
    ) -> tuple[LiveRun, PendingEvents]:
        """Start a run; return it with its events that the journal commits."""
        opening, ensemble, ask = prepared.opening, prepared.ensemble, prepared.opening.ask
        # `conclude` must not keep `prepared`, a large object.
        retention, is_reserved = prepared.retention, bool(opening.demands)
        agents = tuple(agent.name for agent in ensemble.agents)
        workflow = self._dependencies.telemetry.start_workflow(
            ensemble.name,
            run_id=opening.run_id,
            conversation_id=ask.conversation_id,
            config_hash=ensemble.config_hash,
            agents=agents,
            parent=current_request(),
        )
        bind_log(run_id=opening.run_id, conversation_id=ask.conversation_id)
        timeout_s = min(ensemble.timeout_s, ask.timeout_s or ensemble.timeout_s)
        kit = self._make_kit(prepared, workflow, timeout_s)
        if budgets:
            self._dependencies.telemetry.record_reservation("reserved")
        log = RunLog(clock=asyncio.get_running_loop().time)
        run = LiveRun(_make_run(prepared, workflow, budgets, log), kit, self._grace_s)
        pending = self._journal.track(run.id, run.owner, run.log)

        def append(event: Event) -> None:
            run.log.append(event)
            self._journal.on_append(pending)

        append(RunStarted(run.id, run.trace_id, ensemble.name, agents, workflow.span_id))
        if is_reserved:  # before the first call: after a kill, a run without an event is free
            self._journal.flush_to_spool()

        async def emit(event: Event) -> None:
            append(event)
            answer = make_agent_answer(run.id, run.owner, event)
            if answer:
                self._journal.add_answer(answer)

        async def conclude(final: RunFinished | RunFailed) -> bool:
            recording = encode_recording(run.log, final, kit.recorders)
            kit.recorders.clear()  # they refer to the replies
            ending = _make_end(run, final, retention, is_reserved=is_reserved)
            ending = replace(ending, recording=recording)
            await self._commit_end(run, pending, final, ending)
            if pending.is_fenced:
                final = make_run_failed(run.log.after(0), INTERRUPTED.code, INTERRUPTED.message)
            elif is_reserved:
                self._dependencies.telemetry.record_reservation("settled")
            self._report(run, final)
            return not pending.is_fenced

        run.start(run_strategy(ask, kit, emit), timeout_s, conclude)
        return run, pending

    def _make_kit(self, prepared: PreparedRun, workflow: Workflow, timeout_s: float) -> Kit:
        dependencies = self._dependencies
        return Kit(
            client=dependencies.client,
            ensemble=prepared.ensemble,
            keys=dependencies.keys,
            prices=prepared.catalog.prices,
            budget=dependencies.budget,
            workflow=workflow,
            deadline=asyncio.get_running_loop().time() + timeout_s,
            run_id=prepared.ensemble.seed or prepared.opening.run_id,
            reused=prepared.reused,
            tokens=dependencies.tokens,
            paces=dependencies.paces,
            hedges=dependencies.hedges,
            spending=prepared.spending,
        )

    async def _commit_end(
        self,
        run: LiveRun,
        pending: PendingEvents,
        final: RunFinished | RunFailed,
        ending: RunEnd,
    ) -> None:
        for answer in make_final_answers(run.id, run.owner, final):
            self._journal.add_answer(answer)
        await self._journal.end(pending, final, ending, run.workflow, self._lease)

    def _report(self, run: LiveRun, final: RunFinished | RunFailed) -> None:
        outcome = get_end_state(final)
        failure = final if isinstance(final, RunFailed) else None
        answer = final if isinstance(final, RunFinished) else None
        missing = [each.agent for each in answer.missing] if answer else []
        degraded_by = answer.degraded_by if answer else ()
        error_type = failure.code if failure and outcome == "failed" else None
        run.workflow.finish(
            outcome,
            error_type=error_type,
            message=failure.message if failure else "",
            input_tokens=final.usage.input_tokens,
            output_tokens=final.usage.output_tokens,
            cost_usd=final.cost,
            degraded_by=degraded_by,
            missing=missing,
        )
        fields = {"outcome": outcome, "ensemble": run.ensemble_name, "elapsed_ms": final.elapsed_ms}
        if failure:
            fields["error_type"] = failure.code
        if degraded_by:
            fields["degraded_by"] = ",".join(degraded_by)
        if missing:
            fields["missing"] = ",".join(missing)
        _log.info("run %s", outcome, extra=fields)


def _make_end(
    run: LiveRun, final: RunFinished | RunFailed, retention: timedelta, *, is_reserved: bool
) -> RunEnd:
    events = [*run.log.after(0), final]
    ending = make_run_end(run.id, run.owner, events, datetime.now(UTC), retention)
    return replace(ending, is_reserved=is_reserved)


def _make_run(
    prepared: PreparedRun, workflow: Workflow, budgets: Sequence[BudgetState], log: RunLog
) -> Run:
    opening = prepared.opening
    return Run(
        id=opening.run_id,
        owner=opening.ask.owner,
        message_id=opening.ask.message_id,
        conversation_id=opening.ask.conversation_id,
        ensemble_name=prepared.ensemble.name,
        config_hash=prepared.ensemble.config_hash,
        trace_id=workflow.trace_id,
        created_at=opening.created_at,
        retry_of=opening.retry_of,
        options=opening.ask.options,
        log=log,
        budgets=budgets,
    )
