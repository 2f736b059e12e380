"""Percentiles of any number of values in bounded memory, with their intervals."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from service.evaluation.statistics.intervals import Interval

_GROWTH = math.log(1.02)  # the width of a class: values are exact to 1 %
_LARGEST = 1e12
_Z = 1.96


class Percentile(NamedTuple):
    """A percentile and its interval at 95 %."""

    value: float
    interval: Interval


@dataclass(slots=True)
class PercentileSketch:
    """Counts of values from 0 in classes that are 2 % wide, about 2,000 at most."""

    total: int = 0
    _counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count a value; those below 1 count as 0."""
        self.total += 1
        self._counts[0 if value < 1 else 1 + round(math.log(min(value, _LARGEST)) / _GROWTH)] += 1

    def find(self, percent: float) -> Percentile | None:
        """Return a percentile with its interval; None without values.

        The limits are the values whose ranks are the limits of the binomial distribution: no shape
        of the values is assumed. Few values have their smallest and largest one as limits.
        Source: Hahn and Meeker, Statistical Intervals, 1991, 5.2
        """
        if not self.total:
            return None
        share = percent / 100
        rank = share * (self.total - 1)
        spread = _Z * math.sqrt(self.total * share * (1 - share))
        low, high = (self._get(rank + sign * spread) for sign in (-1, 1))
        return Percentile(self._get(rank), Interval(low, high))

    def _get(self, rank: float) -> float:
        """Return the value of a rank, counted from 0."""
        left = min(max(round(rank), 0), self.total - 1)
        for number, count in sorted(self._counts.items()):
            left -= count
            if left < 0:
                return 0.0 if number == 0 else math.exp((number - 1) * _GROWTH)
        return 0.0  # not reached: the counts add up to the total
