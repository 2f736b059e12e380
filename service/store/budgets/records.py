"""Records of budgets: what runs demand from them, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

BudgetUnit = Literal["tokens", "nano_usd"]

StepAmounts = Mapping[str, int]
"""The worst case of each agent in a step of a strategy, by the agent's name."""


class BudgetKey(NamedTuple):
    """A budget: the amount of one unit that `subject` may spend under a rule in one period."""

    rule: str
    subject: str
    unit: BudgetUnit
    period_start: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetDemand:
    """The worst case of a run, to be reserved from one budget of `limit` until `period_end`."""

    key: BudgetKey
    limit: int
    period_end: datetime
    steps: Sequence[StepAmounts]

    @property
    def amount(self) -> int:
        """The sum of all steps."""
        return sum(sum(step.values()) for step in self.steps)


@dataclass(slots=True)
class Balance:
    """The amounts of a budget that are spent, and that are reserved for running runs."""

    spent: int = 0
    reserved: int = 0


@dataclass(slots=True)
class Reservation:
    """The amount of a budget that a running run holds: that of its steps, and any extension."""

    run_id: str
    key: BudgetKey
    amount: int
    steps: Sequence[StepAmounts]

    @property
    def extension(self) -> int:
        """The amount beyond the steps, which retries and fallbacks of the run have reserved."""
        return max(0, self.amount - sum(sum(step.values()) for step in self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget as it was at one moment."""

    key: BudgetKey
    limit: int
    period_end: datetime
    spent: int = 0
    reserved: int = 0

    @property
    def remaining(self) -> int:
        """The amount that further runs can reserve."""
        return max(0, self.limit - self.spent - self.reserved)


@dataclass(frozen=True, slots=True)
class BudgetShortage:
    """A refused reservation: the budget has less than the `demanded` amount."""

    state: BudgetState
    demanded: int


@dataclass(frozen=True, slots=True)
class BudgetGrant:
    """A reservation that was made: its budgets afterwards."""

    states: Sequence[BudgetState]


@dataclass(frozen=True, slots=True)
class Interruption:
    """The knowledge about a run that its own process did not end.

    `reported` are the agents whose usage is known. `is_complete`: all events of the run are known,
    so that later steps had not started; otherwise its process may still be alive.
    """

    reported: frozenset[str] = field(default_factory=frozenset)
    is_complete: bool = True
