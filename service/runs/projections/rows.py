"""The rows of a run besides its events: its end, and the answer of each agent. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.domain import AgentReport
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentSkipped,
    Event,
    RunFailed,
    RunFinished,
)
from service.runs.projections.shares import make_shares
from service.runs.projections.summary import AgentSummary, get_end_state, summarize
from service.store.records import AgentAnswer, RunEnd

_STATES: Mapping[type[Event], str] = {
    AgentFinished: "answered",
    AgentFailed: "failed",
    AgentSkipped: "skipped",
}


def make_run_end(
    run_id: str, owner: str, events: Sequence[Event], ended_at: datetime, retention: timedelta
) -> RunEnd:
    """Return the end of a run from all its events, including the final one."""
    run = summarize(events)
    return RunEnd(
        run_id=run_id,
        owner=owner,
        state=run.state,
        answer=run.answer,
        usage=run.usage,
        cost_usd=run.cost,
        elapsed_ms=run.elapsed_ms,
        ended_at=ended_at,
        last_seq=len(events),
        events_expire_at=ended_at + retention,
        missing=run.missing,
        degraded_by=run.degraded_by,
        answered_by=run.answered_by,
        finish_reason=run.finish_reason or None,
        code=run.code,
        error=run.message,
        tool_calls=run.tool_calls,
        findings=json.dumps(run.findings) if run.findings else None,
        shares=make_shares(run),
    )


def make_agent_answer(run_id: str, owner: str, event: Event) -> AgentAnswer | None:
    """Return the row of the agent that ends with `event`; None for other events."""
    state = _STATES.get(type(event))
    if state is None:  # most events
        return None
    assert isinstance(event, AgentFinished | AgentFailed | AgentSkipped)  # noqa: S101  (_STATES)
    answer = _make_answer(run_id, owner, event.report, state)
    if isinstance(event, AgentFinished):
        return answer
    return replace(answer, code=event.code, error=event.message)


def restore_agent(answer: AgentAnswer) -> AgentSummary:
    """Return an agent of a run whose events have expired."""
    report = answer.report
    return AgentSummary(
        answer.agent,
        answer.state,
        report.retries or 0,
        answer.code,
        answer.error,
        report,
        hedges=report.hedges or 0,
    )


def make_final_answers(run_id: str, owner: str, final: Event) -> Iterator[AgentAnswer]:
    """Yield the rows of agents that only the final event reports: the combiner, unfinished ones."""
    if isinstance(final, RunFinished) and final.combiner and not final.combiner.partial:
        yield _make_answer(run_id, owner, final.combiner, "answered")
    elif isinstance(final, RunFailed):
        for report in final.unfinished:
            yield _make_answer(run_id, owner, report, get_end_state(final))


def _make_answer(run_id: str, owner: str, report: AgentReport, state: str) -> AgentAnswer:
    return AgentAnswer(
        run_id=run_id,
        owner=owner,
        agent=report.agent,
        state=state,
        report=report,
        config_hash=report.config_hash,
        created_at=datetime.now(UTC),
    )
