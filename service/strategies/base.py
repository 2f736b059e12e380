"""The interface of strategies: what a run gives them, the results of agents, and the costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from service.domain import AgentReport, Answer, RunRequest, ToolCall, Usage, add_costs
from service.ensembles.catalog import Agent, Check, Ensemble
from service.ensembles.prices import Price
from service.errors import RetryAdvice, RunError, UpstreamError
from service.events import Event
from service.llm.client import LLMClient
from service.llm.endpoints.hedges import HedgeBudgets
from service.llm.endpoints.pace import AgentPaces
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import TokenCounter
from service.strategies.spending.pool import Spending, UnlimitedSpending
from telemetry import Workflow

if TYPE_CHECKING:
    from service.strategies.calls.recorder import CallRecorder

Emit = Callable[[Event], Awaitable[None]]


class AgentResult(Protocol):
    """The answer of an agent, or its text so far."""

    agent: Agent
    answered: bool
    skipped: bool
    error: UpstreamError | None

    @property
    def was_retried(self) -> bool: ...
    @property
    def text(self) -> str: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def tool_calls(self) -> Sequence[ToolCall]: ...
    def report(self) -> AgentReport: ...


class ReusedAnswer:
    """An agent's answer of an earlier run of the same question: it costs nothing again."""

    def __init__(self, agent: Agent, report: AgentReport) -> None:
        self.agent = agent
        self.answered = True
        self.skipped = False
        self.error: UpstreamError | None = None
        self.was_retried = False
        cost = None if report.cost is None else 0.0
        self._report = replace(report, usage=Usage(), cost=cost, reused=True)

    @property
    def text(self) -> str:
        """The complete answer."""
        return self._report.text

    @property
    def finish_reason(self) -> str:
        """The reason for the end of the answer."""
        return self._report.finish_reason

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """None: an answer with calls of tools is not reused."""
        return ()

    def report(self) -> AgentReport:
        """Return the report of the earlier run, without usage and cost."""
        return self._report


def advise_retry(results: Sequence[AgentResult], needed: int) -> RetryAdvice:
    """Return whether repeating the question can get the `needed` further answers, and when.

    The delay is the smallest after which enough model servers accept a call again.
    """
    delays_s = sorted(
        (each.error.retry_after_s or 0.0) if each.error else 0.0
        for each in results
        if not each.answered and not (each.error and each.error.is_permanent)
    )
    is_possible = 0 < needed <= len(delays_s)
    after_s = delays_s[needed - 1] if is_possible else 0.0
    was_retried = any(each.was_retried for each in results)
    return RetryAdvice(is_useful=is_possible and not was_retried, after_s=after_s or None)


class Billed(Protocol):
    """An agent's calls of models with their usage and cost, at any time."""

    agent: Agent

    @property
    def has_output(self) -> bool: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def cost(self) -> float | None: ...
    def report(self) -> AgentReport: ...


@dataclass(slots=True, kw_only=True)
class Kit:
    """The dependencies of a strategy in one run, and the agents' calls so far.

    `deadline` is in the event loop's time; `keys` returns the API key of an agent. `reused` are
    the answers of an earlier run of the same question, by the agent's name. `run_id` is the seed of
    every choice by chance, such as the order of candidates. `is_unjudged`: a judge gave no verdict.
    `recorders` have the requests to models so far.
    """

    client: LLMClient
    ensemble: Ensemble
    keys: Callable[[Agent], str | None]
    prices: Mapping[str, Price]
    budget: RetryBudget
    workflow: Workflow
    deadline: float
    tokens: TokenCounter
    run_id: str = ""
    reused: Mapping[str, AgentReport] = field(default_factory=dict)
    paces: AgentPaces = field(default_factory=AgentPaces)
    hedges: HedgeBudgets = field(default_factory=HedgeBudgets)
    calls: list[Billed] = field(default_factory=list)
    recorders: list[CallRecorder] = field(default_factory=list)
    is_unjudged: bool = False
    spending: Spending = field(default_factory=UnlimitedSpending)

    @property
    def usage(self) -> Usage:
        """The tokens of all finished, failed and running calls."""
        return sum((each.usage for each in self.calls), Usage())

    @property
    def cost(self) -> float | None:
        """The cost of all calls in US dollars; None when no price is known."""
        return add_costs(*(each.cost for each in self.calls))

    @property
    def over_cost(self) -> bool:
        """Whether the run has reached the cost limit of its ensemble."""
        cap = self.ensemble.max_cost_usd
        return cap is not None and (self.cost or 0.0) >= cap

    def check_cost(self) -> None:
        """Raise RunError when the run has reached its cost limit."""
        if self.over_cost:
            cap = self.ensemble.max_cost_usd
            raise RunError("cost_cap", f"The run reached its cost limit of {cap:g} US dollars.")


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """Calls of models that a strategy makes at the same time, for the estimate of its cost.

    `agents` has one item for each call. `reads_answers`: the prompts contain the answers of the
    step before, at most `max_tokens` of each.
    """

    agents: tuple[Agent, ...]
    reads_answers: bool = False


def plan_readers(*agents: Agent | None) -> PlannedCalls:
    """Return calls that all read the answers of the step before; None is no call."""
    return PlannedCalls(tuple(each for each in agents if each), reads_answers=True)


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to make one answer.

    `run` emits every event of the answer and returns its summary; it raises RunError when there
    is no answer. `check` returns why an ensemble cannot use this strategy, None when it can.
    `steps` returns the most calls that a run without failures makes, in their order.
    `honours` are the names of the request options that the strategy supports; None: all.
    """

    run: Callable[[RunRequest, Kit, Emit], Coroutine[None, None, Answer]]
    check: Check
    steps: Callable[[Ensemble], tuple[PlannedCalls, ...]]
    honours: frozenset[str] | None = None
