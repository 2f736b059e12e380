"""Budgets of a caller: the limits on tokens and money that apply to a run, and their refusals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from service.access.principal import Principal
from service.errors import RequestError
from service.limits.amounts import NANO_PER_USD, end_of_period, start_of_period
from service.limits.rules import AppliedRule, Kind, Rules
from service.store.budgets.records import BudgetKey, BudgetShortage, BudgetState, BudgetUnit

_UNITS: Mapping[Kind, BudgetUnit] = {"tokens": "tokens", "cost_usd": "nano_usd"}
BUDGET_KINDS = tuple(_UNITS)
_LONGEST_WAIT_OF_SDKS_S = 60


def list_budgets(
    rules: Rules, principal: Principal, ensemble: str | None, now: datetime
) -> list[BudgetState]:
    """Return the budgets that apply to a run of `ensemble`, with nothing spent yet."""
    return [_make_budget(each, now) for each in rules.applicable(principal, ensemble, BUDGET_KINDS)]


def list_possible_budgets(rules: Rules, principal: Principal, now: datetime) -> list[BudgetState]:
    """Return the budgets that may apply to a run, of any route and ensemble, with nothing spent."""
    return [_make_budget(each, now) for each in rules.possible(principal, BUDGET_KINDS)]


def _make_budget(rule: AppliedRule, now: datetime) -> BudgetState:
    assert rule.period is not None  # noqa: S101  (only `streams` has none)
    key = BudgetKey(
        # With the period: the first day of a month starts both a day and a month.
        rule=f"{rule.name}/{rule.period}",
        subject=rule.subject,
        unit=_UNITS[rule.kind],
        period_start=start_of_period(rule.period, now),
    )
    end = end_of_period(rule.period, now)
    return BudgetState(key=key, limit=rule.count, period_end=end)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The sentence and the code with which a call or a run is refused.

    Money is refused as `budget_exceeded`, tokens, a limit on use, as `rate_limited`.
    """

    code: str
    message: str
    retry_after_s: int


def describe_shortage(shortage: BudgetShortage, what: str, now: datetime) -> Refusal:
    """Return the refusal of `what`, such as "This run", with all amounts and the period's end."""
    state = shortage.state
    name, _, period = state.key.rule.rpartition("/")
    is_money = state.key.unit == "nano_usd"
    rule = f"{_format(state.limit, is_money=is_money)} per {period} of {_name(name)}"
    left = _format(state.remaining, is_money=is_money)
    held = f" and {_format(state.reserved, is_money=is_money)} are reserved by running runs"
    spent = _format(state.spent, is_money=is_money)
    message = (
        f"{what} can use up to {_format(shortage.demanded, is_money=is_money)}, but {left} remain "
        f"of {rule}: {spent} are used{held if state.reserved else ''}. "
        f"The limit is renewed at {state.period_end:%Y-%m-%dT%H:%M:%SZ}."
    )
    after_s = max(1, math.ceil((state.period_end - now).total_seconds()))
    return Refusal("budget_exceeded" if is_money else "rate_limited", message, after_s)


def make_request_error(shortage: BudgetShortage, now: datetime) -> RequestError:
    """Return the error for a run that is refused before any model is called."""
    refusal = describe_shortage(shortage, "This run", now)
    headers = {"Retry-After": str(refusal.retry_after_s)}
    if refusal.retry_after_s > _LONGEST_WAIT_OF_SDKS_S:
        headers["x-should-retry"] = "false"  # else OpenAI's SDKs repeat a 429 at once
    return RequestError(refusal.code, refusal.message, headers=headers)


def format_usd(nano_usd: int) -> str:
    """Return an amount of money for a sentence, with as many digits as it needs."""
    digits = f"{nano_usd / NANO_PER_USD:.9f}".rstrip("0")
    whole, _, part = digits.partition(".")
    return f"${whole}.{part:<02}"


def _format(amount: int, *, is_money: bool) -> str:
    return format_usd(amount) if is_money else f"{amount:,} tokens"


def _name(rule: str) -> str:
    return f"your {rule}" if rule in ("user", "key") else f"the rule {rule}"
