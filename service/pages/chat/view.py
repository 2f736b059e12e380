"""A run as the chat page shows it: its phase, and each agent's state and notes in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from service.domain import AgentReport, DegradedBy, MissingAgent, Usage, add_costs
from service.events import (
    AgentDelta,
    AgentFailed,
    AgentFinished,
    AgentHedged,
    AgentReasoning,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    AnswerDelta,
    AnswerReset,
    CombineStarted,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.events.findings import GateDecided, RankingFinished, VoteFinished
from service.events.seams import AgentContinued, AnswerContinued
from service.pages.words import format_cost, format_duration, format_tokens
from service.runs.projections.summary import get_end_state

PHASES: Final = {"asked": "Asked", "answered": "Answered", "combining": "Combining"}
OPEN_STATES: Final = ("waiting", "answering", "retrying")
_CUTS: Final = {
    "length": "The answer reached its limit of tokens and is cut off.",
    "content_filter": "A content filter cut the answer off.",
}
_DEGRADED: Final = {
    "agents": "Some agents are missing: {missing}.",
    "combiner": "A substitute wrote the answer.",
    "judge": "A judge gave no usable verdict.",
}


@dataclass(slots=True)
class AgentRow:
    """An agent: `state` is waiting, answering, retrying, answered, failed, skipped or stopped.

    `role` is "combines" for the agent that writes the answer. `facts` are its time, tokens and
    cost once it has ended, `notes` sentences about what happened to it.
    """

    name: str
    state: str = "waiting"
    model: str = ""
    role: str = ""
    facts: str = ""
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the row for the scripts of the page."""
        return {
            "name": self.name,
            "state": self.state,
            "model": self.model,
            "role": self.role,
            "facts": self.facts,
            "notes": self.notes,
        }


class RunView:
    """A run after some of its events.

    `phase` is asked, answered, combining or done; `state` running, completed, failed, cancelled or
    interrupted. `facts` are the cost so far, after the end time, tokens and cost; `notes` are
    sentences. `changed` has the agents that events have changed since it was cleared.
    """

    def __init__(self) -> None:
        self.agents: dict[str, AgentRow] = {}
        self.changed: set[str] = set()
        self.phase = "asked"
        self.state = "running"
        self.notes: list[str] = []
        self.facts = ""
        self._asked: tuple[str, ...] = ()
        self._cost: float | None = None

    @property
    def words(self) -> str:
        """The phase as a sentence."""
        if self.phase == "done":
            return _ENDS[self.state]
        if self.phase == "combining":
            return "Combining the answers"
        if self.phase == "answered":
            return "Writing the answer"
        ended = sum(self.agents[name].state not in OPEN_STATES for name in self._asked)
        return f"{ended} of {len(self._asked)} agents have answered" if ended else "Asked"

    def as_json(self) -> dict[str, Any]:
        """Return the run without its agents for the scripts of the page."""
        return {
            "phase": self.phase,
            "state": self.state,
            "words": self.words,
            "facts": self.facts,
            "notes": self.notes,
        }

    def apply(self, event: Event) -> None:
        """Change the view by an event of the run."""
        if isinstance(event, RunStarted):
            self._asked = tuple(dict.fromkeys(event.agents))
            for name in self._asked:
                self._change(name, "waiting")
        elif isinstance(event, RunFinished | RunFailed):
            self._end(event)
        elif isinstance(event, AnswerDelta):
            self._note_writing(event.agent)
        elif isinstance(event, GateDecided):
            self.notes.append(f"Decision: {event.why}")
        elif isinstance(event, VoteFinished):
            self.notes.append(f"The agents voted; {event.agreement:.0%} of them agree.")
        elif isinstance(event, RankingFinished) and event.ranking:
            self.notes.append(f"Ranked first: {event.ranking[0].agent}.")
        else:
            self._apply_agent_event(event)

    def _apply_agent_event(self, event: Event) -> None:
        match event:
            case AgentStarted(agent=name, model=model):
                self._change(name, "waiting").model = model
            case AgentDelta(agent=name) | AgentReasoning(agent=name):
                if name not in self.agents or self.agents[name].state != "answering":
                    self._change(name, "answering")
            case AgentFinished(agent=name, report=report):
                self._report(name, "answered", report)
            case AgentFailed(agent=name, report=report):
                self._report(name, "failed", report, event.message)
            case AgentSkipped(agent=name, report=report):
                self._report(name, "skipped", report, event.message)
            case AgentRetrying(agent=name):
                wait = f" It is tried again in {format_duration(event.delay_ms)}."
                self._change(name, "retrying", f"{event.message}{wait}").model = event.model
            case AgentHedged(agent=name):
                waited = format_duration(event.waited_ms)
                self._note(name, f"No token for {waited}: it is called a second time.")
            case AgentContinued(agent=name) | AnswerContinued(agent=name):
                self._note(name, f"{event.message} {event.model} continues the answer.")
            case CombineStarted(agent=name):
                self.phase = "combining"
                self._change(name, "waiting").role = "combines"
            case AnswerReset(agent=name):
                self._note(name, "The text so far was reasoning: the answer starts again.")
            case _:
                pass

    def _note_writing(self, name: str) -> None:
        """Note that text of the answer has arrived."""
        if self.phase == "asked":
            self.phase = "answered"
        row = self.agents.get(name)
        if row is not None and row.state in ("waiting", "retrying"):
            self._change(name, "answering")

    def _end(self, event: RunFinished | RunFailed) -> None:
        self.phase, self.state = "done", get_end_state(event)
        if isinstance(event, RunFinished):
            if event.combiner and event.combiner.agent in self.agents:
                row = self.agents[event.combiner.agent]
                state = "answered" if row.state in OPEN_STATES else row.state
                self._report(row.name, state, event.combiner)
            self.notes += list_ending_notes(event.degraded_by, event.missing, event.finish_reason)
        else:
            self.notes.append(event.message)
        for name, row in self.agents.items():
            if row.state in OPEN_STATES:
                self._change(name, "answered" if self.state == "completed" else "stopped")
        self.facts = describe_total(event.elapsed_ms, event.usage, event.cost)

    def _report(self, name: str, state: str, report: AgentReport, note: str = "") -> None:
        row = self._change(name, state, note)
        row.model = report.model or row.model
        row.facts = describe_report(report)
        self._cost = add_costs(self._cost, report.cost)
        self.facts = "" if self._cost is None else format_cost(self._cost)

    def _change(self, name: str, state: str, note: str = "") -> AgentRow:
        row = self.agents.setdefault(name, AgentRow(name))
        row.state = state
        if note:
            row.notes.append(note)
        self.changed.add(name)
        return row

    def _note(self, name: str, note: str) -> None:
        row = self.agents.setdefault(name, AgentRow(name))
        row.notes.append(note)
        self.changed.add(name)


_ENDS: Final = {
    "completed": "Complete",
    "failed": "Failed",
    "cancelled": "Stopped",
    "interrupted": "Interrupted",
}


def describe_report(report: AgentReport) -> str:
    """Return the time, tokens and cost of an agent."""
    return describe_total(report.elapsed_ms, report.usage, report.cost)


def describe_total(elapsed_ms: float | None, usage: Usage, cost: float | None) -> str:
    """Return time, tokens and cost, those that are known."""
    price = "" if cost is None else format_cost(cost)
    return " · ".join(filter(None, (format_duration(elapsed_ms), format_tokens(usage), price)))


def list_ending_notes(
    degraded_by: Sequence[DegradedBy], missing: Sequence[MissingAgent], finish_reason: str | None
) -> list[str]:
    """Return sentences about an answer that is cut off or degraded."""
    names = ", ".join(each.agent for each in missing)
    notes = [_DEGRADED[reason].format(missing=names) for reason in degraded_by]
    return [*notes, _CUTS[finish_reason]] if finish_reason in _CUTS else notes
