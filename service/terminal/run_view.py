"""The state of a run as its events tell it: phases, agents, the answer, the cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from service.terminal.feed import RunEventFields

_SEEN_CHARS = 400  # of an agent's text: a panel shows its end


@dataclass(slots=True)
class WatchedAgent:
    """One agent, and the writer of the answer; `state` is in words."""

    name: str
    state: str = "waiting"
    note: str = ""
    text: str = ""
    tokens: int = 0
    cost_usd: float | None = None
    elapsed_ms: float | None = None

    @property
    def is_working(self) -> bool:
        """Whether its time still passes."""
        return self.state in ("answering", "retrying", "thinking")


@dataclass(slots=True)
class WatchedRun:
    """A run: `answer` is its text so far, `outcome` its last event."""

    agents: dict[str, WatchedAgent] = field(default_factory=dict)
    run_id: str = ""
    conversation_id: str = ""
    phase: str = "asking"
    answer: list[str] = field(default_factory=list)
    outcome: RunEventFields | None = None
    started_at: float = field(default_factory=monotonic)

    def apply(self, event: RunEventFields) -> None:
        """Take in the next event."""
        kind = event["type"]
        self.conversation_id = event.get("conversation_id", self.conversation_id)
        if kind == "run.started":
            self.run_id = event["run_id"]
            self.agents = {name: WatchedAgent(name) for name in event["agents"]}
        elif kind == "combine.started":
            self.phase = "combining"
            self._writer(event).state = "answering"
        elif kind == "answer.delta":
            self.phase = "answering"
            self.answer.append(event["message"])
        elif kind == "answer.reset":
            self.answer.clear()
        elif kind.startswith("agent."):
            self._apply_to_agent(kind, event)
        elif event.get("final"):
            self.phase = "answered" if kind == "run.finished" else "failed"
            self.outcome = event

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self.answer)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start, as the service measured them when the run is over."""
        elapsed_ms = self.outcome.get("elapsed_ms") if self.outcome else None
        if elapsed_ms is not None:
            return float(elapsed_ms) / 1_000
        return monotonic() - self.started_at

    @property
    def cost_usd(self) -> float | None:
        """The cost of the run, while it lasts that of the agents that have ended."""
        if self.outcome:
            cost: float | None = self.outcome.get("cost")
            return cost
        known = [each.cost_usd for each in self.agents.values() if each.cost_usd is not None]
        return sum(known) if known else None

    def _writer(self, event: RunEventFields) -> WatchedAgent:
        return self.agents.setdefault(event["source"], WatchedAgent(event["source"]))

    def _apply_to_agent(self, kind: str, event: RunEventFields) -> None:
        agent = self._writer(event)
        if kind == "agent.started":
            agent.state = "answering"
        elif kind == "agent.delta":
            agent.state = "answering"
            agent.text = (agent.text + event["message"])[-_SEEN_CHARS:]
            agent.tokens += 1
        elif kind == "agent.reasoning":
            agent.state = "thinking"
        elif kind == "agent.retrying":
            agent.state, agent.note = "retrying", f"attempt {event['attempt']}: {event['message']}"
        elif kind in ("agent.hedged", "agent.continued"):
            agent.note = event["message"]
        else:
            self._end_agent(agent, event)

    @staticmethod
    def _end_agent(agent: WatchedAgent, event: RunEventFields) -> None:
        endings = {"agent.finished": "answered", "agent.failed": "failed"}
        agent.state = endings.get(event["type"], "skipped")
        agent.note = event.get("message", "") if agent.state != "answered" else ""
        agent.tokens = (event.get("usage") or {}).get("output_tokens", agent.tokens)
        agent.cost_usd = event.get("cost")
        agent.elapsed_ms = event.get("elapsed_ms")
