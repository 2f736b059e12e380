"""The progress of an evaluation, as its display receives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The step, its finished and planned parts, and the amounts so far.

    `sent` and `reused` count answers of models, `spent_usd` is the cost of those that were sent.
    """

    step: str
    done: int
    planned: int
    sent: int
    reused: int
    spent_usd: float


OnProgress = Callable[[Progress], None]
