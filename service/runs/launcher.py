"""Makes runs and sets them to work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from service.coalescing import CoalescingWindow
from service.domain import AgentReport
from service.ensembles.catalog import Agent, Catalog, Ensemble
from service.events import Event, RunFailed, RunFinished, RunStarted
from service.llm.client import LLMClient
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import TokenCounter
from service.runs.journal.journal import Journal
from service.runs.journal.pending import PendingEvents
from service.runs.log import RunLog
from service.runs.projections.rows import make_agent_answer, make_final_answers, make_run_end
from service.runs.projections.summary import get_end_state
from service.runs.run import LiveRun, Run
from service.store.records import NewRun
from service.strategies import STRATEGIES, Kit
from telemetry import Telemetry, Workflow, bind_log, current_request

_log = logging.getLogger("service.run")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDependencies:
    """What runs are made with. `catalog` is asked anew for each run: the file may have changed."""

    catalog: Callable[[], Catalog]
    client: LLMClient
    keys: Callable[[Agent], str | None]
    budget: RetryBudget
    telemetry: Telemetry
    pace: CoalescingWindow
    tokens: TokenCounter


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A run to be made: its question as it was committed, and what it is answered with.

    `reused` are agents' answers of an earlier run; `kept` is how long its events are.
    """

    opening: NewRun
    ensemble: Ensemble
    catalog: Catalog
    kept: timedelta
    reused: Mapping[str, AgentReport] = field(default_factory=dict)


class Launcher:
    """Begins runs whose question has been committed."""

    def __init__(self, tools: RunDependencies, journal: Journal, grace_s: float) -> None:
        self._tools = tools
        self._journal = journal
        self._grace_s = grace_s

    def launch(self, order: PreparedRun) -> tuple[LiveRun, PendingEvents]:
        """Set a run to work and return it with what keeps it."""
        opening, ensemble, ask = order.opening, order.ensemble, order.opening.ask
        kept = order.kept  # all that stays of the order: it holds the ensemble as text
        agents = tuple(agent.name for agent in ensemble.agents)
        workflow = self._tools.telemetry.start_workflow(
            ensemble.name,
            run_id=opening.run_id,
            conversation_id=ask.conversation_id,
            config_hash=ensemble.config_hash,
            agents=agents,
            parent=current_request(),
        )
        bind_log(run_id=opening.run_id, conversation_id=ask.conversation_id)
        timeout_s = min(ensemble.timeout_s, ask.timeout_s or ensemble.timeout_s)
        kit = self._kit(order, workflow, timeout_s)
        run = LiveRun(_known(order, workflow), kit, self._grace_s)
        pending = self._journal.track(run.id, run.owner, run.log)

        def append(event: Event) -> None:
            run.log.append(event)
            self._journal.on_append(pending)

        append(RunStarted(run.id, run.trace_id, ensemble.name, agents, workflow.span_id))

        async def emit(event: Event) -> None:
            append(event)
            answer = make_agent_answer(run.id, run.owner, event)
            if answer:
                self._journal.add_answer(answer)

        async def conclude(final: RunFinished | RunFailed) -> None:
            await self._commit_end(run, pending, final, kept)
            self._account(run, final)

        strategy = STRATEGIES[ensemble.strategy]
        run.start(strategy.run(ask, kit, emit), timeout_s, conclude)
        return run, pending

    def _kit(self, order: PreparedRun, workflow: Workflow, timeout_s: float) -> Kit:
        tools = self._tools
        return Kit(
            client=tools.client,
            ensemble=order.ensemble,
            keys=tools.keys,
            prices=order.catalog.prices,
            budget=tools.budget,
            workflow=workflow,
            deadline=asyncio.get_running_loop().time() + timeout_s,
            reused=order.reused,
            tokens=tools.tokens,
        )

    async def _commit_end(
        self, run: LiveRun, pending: PendingEvents, final: RunFinished | RunFailed, kept: timedelta
    ) -> None:
        events = [*run.log.after(0), final]
        for answer in make_final_answers(run.id, run.owner, final):
            self._journal.add_answer(answer)
        ending = make_run_end(run.id, run.owner, events, datetime.now(UTC), kept)
        await self._journal.end(pending, final, ending, run.workflow)

    def _account(self, run: LiveRun, final: RunFinished | RunFailed) -> None:
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
            fields |= {"degraded_by": ",".join(degraded_by), "missing": ",".join(missing)}
        _log.info("run %s", outcome, extra=fields)


def _known(order: PreparedRun, workflow: Workflow) -> Run:
    opening = order.opening
    return Run(
        id=opening.run_id,
        owner=opening.ask.owner,
        message_id=opening.ask.message_id,
        conversation_id=opening.ask.conversation_id,
        ensemble_name=order.ensemble.name,
        config_hash=order.ensemble.config_hash,
        trace_id=workflow.trace_id,
        created_at=opening.created_at,
        retry_of=opening.retry_of,
        options=opening.ask.options,
        log=RunLog(),
    )
