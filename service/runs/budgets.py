"""Reserves the worst case of a run before its models are called, and more when a call needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from service.access.principal import Principal
from service.accounts.audit import Audit
from service.domain import AgentReport, RunRequest
from service.ensembles.agents import Agent
from service.ensembles.catalog import Catalog, Ensemble
from service.errors import BudgetExceeded, RequestError, StorageUnavailable
from service.limits.budgets import (
    describe_shortage,
    format_usd,
    list_budgets,
    make_request_error,
)
from service.limits.rules import Rules
from service.llm.requests.learned import LearnedTraits
from service.llm.tokens.counter import TokenCounter
from service.store.budgets.budgets import Budgets
from service.store.budgets.records import BudgetDemand, BudgetShortage, BudgetState, BudgetUnit
from service.store.budgets.units import NANO_PER_USD
from service.strategies import STRATEGIES
from service.strategies.spending.estimate import estimate_steps
from service.strategies.spending.pool import ReservedSpending, Spending, UnlimitedSpending
from service.strategies.spending.worst_case import Amounts, WorstCases
from telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run whose worst case is known: the reservations to make, and what its calls may spend."""

    demands: Sequence[BudgetDemand] = ()
    spending: Spending = field(default_factory=UnlimitedSpending)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBudgets:
    """The budgets of runs. `rules` is called for each run, because their file can change."""

    rules: Callable[[], Rules]
    budgets: Budgets
    learned: LearnedTraits
    tokens: TokenCounter
    telemetry: Telemetry
    audit: Audit

    async def plan(
        self,
        run_id: str,
        request: RunRequest,
        ensemble: Ensemble,
        catalog: Catalog,
        reused: Mapping[str, AgentReport],
    ) -> RunPlan:
        """Return the reservations of a run; none when no limit applies, which costs no counting.

        Raises RequestError when the worst case exceeds `max_cost_usd` of the ensemble.
        """
        states = list_budgets(self.rules(), request.principal, ensemble.name, _read_time())
        cap = ensemble.max_cost_usd
        if not states and cap is None:
            return RunPlan()
        worst_cases = WorstCases(self.tokens, self.learned, catalog.prices)
        planned = await _estimate(worst_cases, request, ensemble, reused)
        demands = [_make_demand(state, planned) for state in states]
        total = _sum_nano_usd(planned)
        reserved = _Reserved(
            run_id, demands, None if cap is None else round(cap * NANO_PER_USD), total
        )
        if reserved.is_over_cap:
            raise _over_cap(ensemble, total)
        extend = partial(self._extend, reserved)
        return RunPlan(demands, ReservedSpending(worst_cases, planned, extend))

    async def estimate_nano_usd(
        self,
        request: RunRequest,
        ensemble: Ensemble,
        catalog: Catalog,
        reused: Mapping[str, AgentReport],
    ) -> int:
        """Return the most that a run can cost without failures, in billionths of a US dollar."""
        worst_cases = WorstCases(self.tokens, self.learned, catalog.prices)
        return _sum_nano_usd(await _estimate(worst_cases, request, ensemble, reused))

    def refuse(self, shortage: BudgetShortage, principal: Principal) -> RequestError:
        """Count and record a refused reservation; return the error for its run."""
        self.telemetry.record_reservation("refused")
        key, state = shortage.state.key, shortage.state
        self.audit.record(
            "budget.refused",
            principal,
            key.rule,
            subject=key.subject,
            unit=key.unit,
            limit=state.limit,
            remaining=state.remaining,
            demanded=shortage.demanded,
        )
        return make_request_error(shortage, _read_time())

    async def _extend(self, reserved: _Reserved, agent: Agent, lack: Amounts) -> None:
        """Reserve more for a call of `agent`. Raises BudgetExceeded."""
        if reserved.cap is not None and reserved.nano_usd + lack.nano_usd > reserved.cap:
            cap = format_usd(reserved.cap)
            raise BudgetExceeded(
                f"{agent.name} was not called: with {format_usd(lack.nano_usd)} more the run could "
                f"exceed the cost limit of {cap} of its ensemble."
            )
        more: dict[BudgetUnit, int] = {"tokens": lack.tokens, "nano_usd": lack.nano_usd}
        if any(more[each.key.unit] for each in reserved.demands):
            await self._reserve(reserved, agent, more)
        reserved.nano_usd += lack.nano_usd

    async def _reserve(
        self, reserved: _Reserved, agent: Agent, more: Mapping[BudgetUnit, int]
    ) -> None:
        try:
            shortage = await self.budgets.extend(reserved.run_id, reserved.demands, more)
        except StorageUnavailable as error:
            raise BudgetExceeded(
                f"{agent.name} was not called: its budget cannot be read. {error.message}"
            ) from error
        except KeyError:
            raise BudgetExceeded(
                f"{agent.name} was not called: another process has ended the run."
            ) from None
        if shortage:
            what = f"{agent.name} was not called: this call"
            raise BudgetExceeded(describe_shortage(shortage, what, _read_time()).message)


@dataclass(slots=True)
class _Reserved:
    """The reservation of one run. `cap` is that of its ensemble, `nano_usd` the money reserved."""

    run_id: str
    demands: Sequence[BudgetDemand]
    cap: int | None
    nano_usd: int

    @property
    def is_over_cap(self) -> bool:
        return self.cap is not None and self.nano_usd > self.cap


async def _estimate(
    worst_cases: WorstCases,
    request: RunRequest,
    ensemble: Ensemble,
    reused: Mapping[str, AgentReport],
) -> Sequence[Mapping[str, Amounts]]:
    steps = STRATEGIES[ensemble.strategy].steps(ensemble)
    return await estimate_steps(worst_cases, request, steps, reused)


def _sum_nano_usd(planned: Sequence[Mapping[str, Amounts]]) -> int:
    return sum(amounts.nano_usd for step in planned for amounts in step.values())


def _read_time() -> datetime:
    return datetime.now(UTC)


def _make_demand(state: BudgetState, planned: Sequence[Mapping[str, Amounts]]) -> BudgetDemand:
    is_money = state.key.unit == "nano_usd"
    return BudgetDemand(
        key=state.key,
        limit=state.limit,
        period_end=state.period_end,
        steps=[
            {name: each.nano_usd if is_money else each.tokens for name, each in step.items()}
            for step in planned
        ],
    )


def _over_cap(ensemble: Ensemble, nano_usd: int) -> RequestError:
    return RequestError(
        "budget_exceeded",
        f"This run can cost up to {format_usd(nano_usd)}, but max_cost_usd of {ensemble.name} is "
        f"${ensemble.max_cost_usd:g}. Raise it, or lower max_tokens.",
        headers={"x-should-retry": "false"},
    )
