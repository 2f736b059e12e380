"""The limits and budgets of a caller, as `/api/me` shows them; nothing is taken from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NotRequired

from quart import request
from typing_extensions import TypedDict

from service.access.addresses import is_loopback
from service.access.principal import Principal
from service.api.dependencies import ApiDependencies
from service.api.middleware.forwarded import is_direct
from service.limits.amounts import NANO_PER_USD
from service.limits.budgets import list_possible_budgets
from service.limits.counters import CounterState
from service.limits.use import Use
from service.store.budgets.records import BudgetState


class LimitShown(TypedDict):
    """A limit with the remaining amount; `kind` is `requests`, `streams`, `tokens` or `cost_usd`.

    `rule` is `user` or `key` for the limits that are stored with them. `reset_at` is the time at
    which all of it is available again. `burst` is the size of a bucket with the rate `limit`.
    """

    rule: str
    kind: str
    limit: float
    remaining: float
    period: str | None
    burst: NotRequired[int]
    reset_at: NotRequired[str]


async def list_limits(api: ApiDependencies, principal: Principal) -> list[LimitShown]:
    """Return the limits that apply to questions of the current caller.

    A rule for some routes or ensembles is listed too, before the one that applies to all others.
    Raises StorageUnavailable.
    """
    is_local = is_loopback(principal.address) and is_direct(request.scope)
    use = Use(principal=principal, starts_run=True, is_answer=True, is_local=is_local)
    states = await api.limiter.peek(api.limiter.find_possible_rules(use))
    now = datetime.now(UTC)
    budgets = await api.store.budgets.read(list_possible_budgets(api.limiter.rules, principal, now))
    return [*(_show_counter(each, now) for each in states), *map(_show_budget, budgets)]


def _show_counter(state: CounterState, now: datetime) -> LimitShown:
    rule = state.rule
    window = f"{rule.window_s:g} s" if rule.window_s is not None else rule.period
    shown: LimitShown = {
        "rule": rule.name,
        "kind": rule.kind,
        "limit": state.limit if rule.burst is None else rule.count,
        "remaining": state.remaining,
        "period": window,
    }
    if rule.burst is not None:
        shown["burst"] = state.limit
    if rule.kind != "streams":
        shown["reset_at"] = (now + timedelta(seconds=state.reset_s)).isoformat()
    return shown


def _show_budget(state: BudgetState) -> LimitShown:
    rule, _, period = state.key.rule.rpartition("/")
    unit = NANO_PER_USD if state.key.unit == "nano_usd" else 1
    return {
        "rule": rule,
        "kind": "tokens" if unit == 1 else "cost_usd",
        "limit": state.limit / unit,
        "remaining": state.remaining / unit,
        "period": period,
        "reset_at": state.period_end.isoformat(),
    }
