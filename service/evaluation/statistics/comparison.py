"""Comparisons of two contestants on the same questions, with a cautious verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.evaluation.statistics.exact_test import correct_by_holm, sign_test
from service.evaluation.statistics.intervals import LEVEL, Interval, paired_interval

ComparisonVerdict = Literal["better", "worse", "no difference"]


@dataclass(frozen=True, slots=True)
class Tally:
    """The questions that one contestant won, tied and lost against another.

    `undecided` ones have no result: an answer could not be graded, or the judge gave no verdict.
    """

    wins: int = 0
    ties: int = 0
    losses: int = 0
    undecided: int = 0

    @property
    def decided(self) -> int:
        """The number of questions with a result; the statistics refer to these."""
        return self.wins + self.ties + self.losses


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference (wins - losses) / decided, with its interval and p-values.

    `p_corrected` is Holm's for all comparisons of an evaluation.
    """

    value: float
    interval: Interval
    p: float
    p_corrected: float

    @property
    def verdict(self) -> ComparisonVerdict:
        """Better or worse only if the interval excludes 0 and the corrected test agrees.

        The second condition limits the chance of any false claim to 5 %, however many comparisons
        an evaluation has.
        """
        if not self.interval.excludes(0.0) or self.p_corrected >= 1 - LEVEL:
            return "no difference"
        return "better" if self.value > 0 else "worse"


def measure_differences(tallies: Sequence[Tally]) -> list[Difference]:
    """Return the differences of all comparisons of an evaluation, in their order."""
    p_values = [sign_test(each.wins, each.losses) for each in tallies]
    corrected = correct_by_holm(p_values)
    return [
        Difference(
            (each.wins - each.losses) / each.decided if each.decided else 0.0,
            paired_interval(each.wins, each.losses, each.decided),
            p,
            p_corrected,
        )
        for each, p, p_corrected in zip(tallies, p_values, corrected, strict=True)
    ]
