"""The rules of `limits.toml` in words. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from service.limits.amounts import Amount
from service.limits.rules import Rule, Rules
from service.limits.tables import MatchTable
from service.pages.words import format_cost, format_count
from service.store.budgets.units import NANO_PER_USD


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A rule: the requests that it matches, and what it allows them."""

    name: str
    match: str
    allowance: str


def describe_rules(rules: Rules) -> list[ShownRule]:
    """Return the rules in the order of the file."""
    return [
        ShownRule(each.name, _describe_match(each.match), ", ".join(_list_limits(each)))
        for each in rules.rules
    ]


def _describe_match(match: MatchTable) -> str:
    named = {name: getattr(match, name) for name in MatchTable.model_fields}
    parts = [f"{name} {' or '.join(map(str, each))}" for name, each in named.items() if each]
    return "; ".join(parts) or "every request"


def _list_limits(rule: Rule) -> Iterator[str]:
    allowance = rule.allowance
    if allowance.requests:
        burst = f", at most {allowance.burst} at once" if allowance.burst else ""
        yield f"{_describe(allowance.requests, 'requests')}{burst}"
    if allowance.streams:
        yield f"{allowance.streams} open streams"
    if allowance.tokens:
        yield _describe(allowance.tokens, "tokens")
    if allowance.cost_usd:
        amount = allowance.cost_usd
        yield f"{format_cost(amount.count / NANO_PER_USD)} per {amount.period}"


def _describe(amount: Amount, unit: str) -> str:
    return f"{format_count(amount.count)} {unit} per {amount.period}"
