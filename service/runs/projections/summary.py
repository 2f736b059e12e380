"""The summary of a run: its state, agents, answer and cost, computed from its events. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain import (
    AgentReport,
    DegradedBy,
    MissingAgent,
    ToolCall,
    Usage,
    add_costs,
    degraded_by,
)
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentHedged,
    AgentReasoning,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    AnswerDelta,
    AnswerReasoning,
    AnswerReset,
    AnswerToolCall,
    CombineStarted,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.events.findings import RACE_LOST, UNUSABLE_JUDGE, Finding, describe_finding
from service.events.seams import AgentContinued, AnswerContinued, Seam
from service.messages import join_tool_calls


@dataclass(slots=True)
class AgentSummary:
    """One agent of a run. `state` is waiting, running, answered, failed, skipped or cancelled."""

    name: str
    state: str = "waiting"
    retries: int = 0
    code: str | None = None
    message: str | None = None
    report: AgentReport | None = None
    reasoning: str = ""
    seams: list[Seam] = field(default_factory=list)
    hedges: int = 0


@dataclass(slots=True)
class RunSummary:
    """A run after some of its events.

    `state` is running, completed, failed, cancelled or interrupted. `agents` are in the order of
    their start. `finish_reason` is OpenAI's, empty before the end. `cost` is in US dollars; while
    the run is running, `usage` and `cost` are those of the agents that have ended. `asked` are the
    agents of its ensemble. `findings` is JSON: analysis, votes, ranking, gate and provenance.
    """

    state: str = "running"
    agents: dict[str, AgentSummary] = field(default_factory=dict)
    answer: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    elapsed_ms: float | None = None
    combiner: str | None = None
    missing: tuple[MissingAgent, ...] = ()
    degraded_by: tuple[DegradedBy, ...] = ()
    answered_by: str | None = None
    finish_reason: str = ""
    code: str | None = None
    message: str | None = None
    asked: tuple[str, ...] = ()
    findings: dict[str, Any] = field(default_factory=dict)


def summarize(events: Iterable[Event]) -> RunSummary:
    """Return the state of a run after `events`."""
    run = RunSummary()
    answer: list[str] = []
    calls: list[ToolCall] = []
    thoughts: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, AnswerDelta):
            if not answer:
                _note_degradation(run)
            answer.append(event.text)
        elif isinstance(event, AnswerToolCall):
            calls.append(event.call)
        elif isinstance(event, AgentReasoning | AnswerReasoning):
            thoughts.setdefault(event.agent, []).append(event.text)
        elif isinstance(event, AnswerReset):
            answer.clear()
        elif isinstance(event, RunFinished | RunFailed):
            _apply_end(run, event)
        elif isinstance(event, Finding):
            run.findings |= describe_finding(event)
        elif isinstance(event, RunStarted):
            run.asked = event.agents
        else:
            _apply_agent_event(run, event)
    for agent in run.agents.values():
        agent.reasoning = "".join(thoughts.get(agent.name, ()))
        if agent.report and not agent.reasoning:
            agent.reasoning = agent.report.reasoning
    run.answer = "".join(answer)
    run.tool_calls = join_tool_calls(calls)
    if run.state == "running":
        reports = [agent.report for agent in run.agents.values() if agent.report]
        run.usage = sum((report.usage for report in reports), Usage())
        run.cost = add_costs(*(report.cost for report in reports))
    return run


def _apply_agent_event(run: RunSummary, event: Event) -> None:
    if not isinstance(
        event,
        AgentStarted
        | AgentFinished
        | AgentFailed
        | AgentSkipped
        | AgentRetrying
        | AgentContinued
        | AnswerContinued
        | AgentHedged
        | CombineStarted,
    ):
        return
    agent = run.agents.setdefault(event.agent, AgentSummary(event.agent))
    match event:
        case AgentStarted():
            agent.state = "running"
        case CombineStarted():
            agent.state, run.combiner = "running", event.agent
        case AgentFinished(report=report):
            agent.state, agent.report = "answered", report
        case AgentRetrying():
            agent.retries += 1
        case AgentContinued() | AnswerContinued():
            agent.seams.append(event)
        case AgentHedged():
            agent.hedges += 1
        case AgentFailed() | AgentSkipped():
            agent.state = "failed" if isinstance(event, AgentFailed) else "skipped"
            agent.code, agent.message, agent.report = event.code, event.message, event.report


def _note_degradation(run: RunSummary) -> None:
    """Set why the answer is degraded, as known at its first text; the final event states it all."""
    run.missing = tuple(
        MissingAgent(agent.name, agent.code or "")
        for agent in run.agents.values()
        if agent.state in ("failed", "skipped") and agent.name in run.asked
        if agent.code != RACE_LOST
    )
    combiner = run.agents.get(run.combiner or "")
    is_substitute = combiner is not None and combiner.state == "failed"
    is_unjudged = any(agent.code == UNUSABLE_JUDGE for agent in run.agents.values())
    run.degraded_by = degraded_by(run.missing, is_substitute, is_unjudged)


def _apply_end(run: RunSummary, event: RunFinished | RunFailed) -> None:
    run.usage, run.cost, run.elapsed_ms = event.usage, event.cost, event.elapsed_ms
    if isinstance(event, RunFinished):
        run.state = "completed"
        run.missing, run.degraded_by = event.missing, event.degraded_by
        run.answered_by, run.finish_reason = event.answered_by, event.finish_reason
        if event.combiner:
            combiner = run.agents.setdefault(
                event.combiner.agent, AgentSummary(event.combiner.agent)
            )
            combiner.report = event.combiner
            if combiner.state == "running":
                combiner.state = "answered"
        return
    run.missing, run.degraded_by = (), ()
    run.state = get_end_state(event)
    run.code, run.message = event.code, event.message
    for report in event.unfinished:
        run.agents.setdefault(report.agent, AgentSummary(report.agent)).report = report
    for agent in run.agents.values():
        if agent.state == "running":
            agent.state = run.state


# The states of runs that ended with one of these codes; with any other code they failed.
_STATES = {"cancelled": "cancelled", "abandoned": "cancelled", "interrupted": "interrupted"}


def get_end_state(final: RunFinished | RunFailed) -> str:
    """Return the state of a run that ended with `final`."""
    return _STATES.get(final.code, "failed") if isinstance(final, RunFailed) else "completed"


def make_run_failed(events: Sequence[Event], code: str, message: str) -> RunFailed:
    """Return the final event of a run that breaks off after `events`."""
    so_far = summarize(events)
    return RunFailed(
        agent="service",
        code=code,
        message=message,
        partial=bool(so_far.answer),
        usage=so_far.usage,
        cost=so_far.cost,
        elapsed_ms=None,
    )


def list_reported(events: Iterable[Event]) -> frozenset[str]:
    """Return the agents whose usage and cost the events state."""
    ends = AgentFinished | AgentFailed | AgentSkipped
    return frozenset(event.agent for event in events if isinstance(event, ends))
