"""Confidence intervals of proportions, and of the difference of two paired proportions."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

LEVEL = 0.95
_HALVINGS = 100  # beyond the precision of a float
_EDGE = 1e-12


class Interval(NamedTuple):
    """The limits of a confidence interval."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Return whether `value` is outside of the interval."""
        return value < self.low or value > self.high


def wilson_interval(count: int, total: int, level: float = LEVEL) -> Interval:
    """Return Wilson's score interval of a proportion; 0 to 1 without any trial.

    Source: Wilson 1927, https://doi.org/10.2307/2276774; method 3 of Newcombe 1998,
    https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E
    """
    if total == 0:
        return Interval(0.0, 1.0)
    z2 = _quantile(level) ** 2
    middle = (2 * count + z2) / (2 * (total + z2))
    spread = math.sqrt(z2 * (z2 + 4 * count * (1 - count / total))) / (2 * (total + z2))
    low = 0.0 if count == 0 else max(0.0, middle - spread)
    high = 1.0 if count == total else min(1.0, middle + spread)
    return Interval(low, high)


def paired_interval(wins: int, losses: int, total: int, level: float = LEVEL) -> Interval:
    """Return Tango's score interval of the difference (wins - losses) / total of paired results.

    Ties count in `total` only. Without any pair the interval is -1 to 1. It remains valid with no
    losses, or without any difference, where a Wald interval would have no width.
    Source: Tango 1998, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.
    CO;2-B; recommended by Fagerland, Lydersen, Laake 2014, https://doi.org/10.1002/sim.6148
    """
    if total == 0:
        return Interval(-1.0, 1.0)
    z = _quantile(level)
    difference = (wins - losses) / total

    def score(supposed: float) -> float:
        return _tango_score(wins, losses, total, supposed)

    # The score falls while the supposed difference grows.
    low = _bisect(lambda at: score(at) - z, -1.0 + _EDGE, difference)
    high = _bisect(lambda at: score(at) + z, difference, 1.0 - _EDGE)
    return Interval(
        -1.0 if difference == -1 else min(low, difference),
        1.0 if difference == 1 else max(high, difference),
    )


def _tango_score(wins: int, losses: int, total: int, supposed: float) -> float:
    """Return the standardized distance of the observed difference from a supposed one.

    Its variance uses the share of losses that is most likely under the supposed difference.
    """
    b = (2 * total - wins + losses) * supposed - wins - losses
    c = -losses * supposed * (1 - supposed)
    losses_share = (math.sqrt(max(0.0, b * b - 8 * total * c)) - b) / (4 * total)
    variance = total * (2 * losses_share + supposed * (1 - supposed))
    distance = wins - losses - total * supposed
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    """Return the zero of a falling function between two limits."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
