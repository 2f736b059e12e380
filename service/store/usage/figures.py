"""The figures of usage as people and programs read them. No I/O."""

from __future__ import annotations

from service.store.budgets.units import NANO_PER_USD
from service.store.usage.records import UsageSums

FIGURES = (
    "runs", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost",
    "wasted_cost", "unpriced_calls",
)  # fmt: skip


def show_figures(sums: UsageSums) -> dict[str, int | float]:
    """Return the sums by the names of FIGURES, with costs in US dollars."""
    return {
        "runs": sums.runs,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cached_tokens": sums.cached_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "cost": sums.cost_nano / NANO_PER_USD,
        "wasted_cost": sums.wasted_nano / NANO_PER_USD,
        "unpriced_calls": sums.unpriced,
    }
