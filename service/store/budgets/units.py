"""Amounts of usage and cost in the units of budgets."""

from __future__ import annotations

from collections.abc import Mapping

from service.domain import Usage
from service.store.budgets.records import BudgetUnit

NANO_PER_USD = 1_000_000_000


def measure_spent(usage: Usage, cost_usd: float | None) -> Mapping[BudgetUnit, int]:
    """Return tokens and billionths of a US dollar; without a known price the money is 0."""
    return {"tokens": usage.total_tokens, "nano_usd": round((cost_usd or 0.0) * NANO_PER_USD)}
