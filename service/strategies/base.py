"""What a strategy is given to work with, and what it leaves behind: who was asked, what it cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from service.domain import AgentReport, Answer, Price, RunRequest, Usage, add_costs
from service.ensembles.catalog import Agent, Ensemble
from service.errors import RunError, UpstreamError
from service.events import Event
from service.llm.client import LLMClient
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import TokenCounter
from telemetry import Workflow

Emit = Callable[[Event], Awaitable[None]]


class AgentResult(Protocol):
    """What an agent said, or has to say so far."""

    agent: Agent
    answered: bool
    skipped: bool
    error: UpstreamError | None

    @property
    def text(self) -> str: ...
    def report(self) -> AgentReport: ...


class ReusedAnswer:
    """An answer that is there already: nobody is asked, and nothing is paid again."""

    def __init__(self, agent: Agent, report: AgentReport) -> None:
        self.agent = agent
        self.answered = True
        self.skipped = False
        self.error: UpstreamError | None = None
        cost = None if report.cost is None else 0.0
        self._report = replace(report, usage=Usage(), cost=cost, reused=True)

    @property
    def text(self) -> str:
        return self._report.text

    def report(self) -> AgentReport:
        """Return how the work went then, and what it costs now."""
        return self._report


class Work(Protocol):
    """One agent's work and its account, at any moment of it."""

    @property
    def usage(self) -> Usage: ...
    @property
    def cost(self) -> float | None: ...
    def report(self) -> AgentReport: ...


@dataclass(slots=True, kw_only=True)
class Kit:
    """One run's tools. `deadline` is in the event loop's time; `keys` finds an agent's secret.

    `landed` are answers that agents gave to an earlier run of the same question, by their name.
    """

    client: LLMClient
    ensemble: Ensemble
    keys: Callable[[Agent], str | None]
    prices: Mapping[str, Price]
    budget: RetryBudget
    workflow: Workflow
    deadline: float
    tokens: TokenCounter
    landed: Mapping[str, AgentReport] = field(default_factory=dict)
    asked: list[Work] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        """Tokens spent so far, finished, failed and running calls together."""
        return sum((each.usage for each in self.asked), Usage())

    @property
    def cost(self) -> float | None:
        """US dollars spent so far; None when no price is known."""
        return add_costs(*(each.cost for each in self.asked))

    @property
    def over_cost(self) -> bool:
        """Whether the run has used up what its ensemble may cost."""
        cap, cost = self.ensemble.max_cost_usd, self.cost
        return cap is not None and cost is not None and cost >= cap

    def check_cost(self) -> None:
        """Raise RunError when the run is over its cost."""
        if self.over_cost:
            cap = self.ensemble.max_cost_usd
            raise RunError("cost_cap", f"The run reached its cost limit of {cap:g} US dollars.")


@dataclass(frozen=True, slots=True)
class Strategy:
    """How an ensemble makes one answer.

    `run` emits every event of the answer and returns what it was; it raises RunError when there
    is none. `check` says what is wrong with an ensemble that names this strategy, or None.
    `honours` names the options of a question that it can do justice to; None: all.
    """

    run: Callable[[RunRequest, Kit, Emit], Coroutine[None, None, Answer]]
    check: Callable[[Ensemble], str | None]
    honours: frozenset[str] | None = None
