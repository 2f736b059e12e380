"""The figures of usage as people and programs read them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.store.budgets.units import NANO_PER_USD
from service.store.feedback.records import FeedbackSums
from service.store.usage.records import UsageGroup, UsageSums

FIGURES = (
    "runs", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost",
    "wasted_cost", "unpriced_calls", "ratings", "mean_score", "preferred",
)  # fmt: skip


Feedback = Mapping[tuple[str, ...], FeedbackSums]
"""Sums of ratings by the values of the dimensions that usage is grouped by."""


def show_groups(
    by: Sequence[str], groups: Sequence[UsageGroup], feedback: Feedback
) -> list[dict[str, Any]]:
    """Return each group as its values of the dimensions `by` and its figures.

    A group of ratings without usage, such as that of an agent whose answer was reused, is added.
    """
    usage = {each.values: each.sums for each in groups}
    return [
        {
            **dict(zip(by, values, strict=True)),
            **show_all(usage.get(values) or UsageSums(), feedback.get(values)),
        }
        for values in (usage if usage.keys() >= feedback.keys() else sorted({**usage, **feedback}))
    ]


def show_all(sums: UsageSums, feedback: FeedbackSums | None) -> dict[str, Any]:
    """Return usage and ratings by the names of FIGURES; None stands for no ratings."""
    opinions = feedback or FeedbackSums()
    return {
        **show_figures(sums),
        "ratings": opinions.ratings,
        "mean_score": opinions.mean_score,
        "preferred": opinions.preferred,
    }


def show_figures(sums: UsageSums) -> dict[str, int | float]:
    """Return the sums of usage by their names, with costs in US dollars."""
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
