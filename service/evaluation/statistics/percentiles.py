"""Percentiles of measured values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def find_percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile, interpolated between neighbours; None without values.

    Source: definition 7 of Hyndman and Fan 1996, https://doi.org/10.2307/2684934
    """
    if not values:
        return None
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    return low + (high - low) * (at - math.floor(at))
