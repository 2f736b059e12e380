"""Recent values of a measure of calls, and the limit of the usual ones."""

from __future__ import annotations

import math
from collections import deque

RECENT = 100  # values; older ones are forgotten, so that a changed server is learned again
LEAST = 20  # values, below which no limit is known: the smallest number that has a 95th percentile
_USUAL = 0.95
_NEARLY_USUAL = 0.90
_STRETCH = 1.5  # p95 / p90 of lognormal times is 1.2 (sigma 0.5) to 1.4 (sigma 1)


class RecentSamples:
    """The last 100 values of a measure, such as the seconds until the first token.

    The value of a call that was ended early is unknown, and counts as larger than all others. If
    it were left out, each limit would remove the values above it, and so lower the next limit.
    """

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=RECENT)
        self._ranked: list[float] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def record(self, value: float) -> None:
        """Add a value.

        After many calls that were ended early, one above the limit shows that the server is slower
        than before and not silent: earlier values are forgotten.
        """
        if self.is_suspect and value > (self.find_limit() or 0.0):
            self._values.clear()
        self._add(value)

    def record_unfinished(self) -> None:
        """Add a call that was ended before its value was known."""
        self._add(math.inf)

    @property
    def is_suspect(self) -> bool:
        """Whether more than a tenth of the calls were ended early: the limit may be too low."""
        return len(self) >= LEAST and math.isinf(self._quantile(_NEARLY_USUAL))

    def find_limit(self) -> float | None:
        """Return the limit of usual values; None while fewer than 20 values are known.

        It is the 95th percentile, at most 1.5 times the 90th: what happens in fewer than a tenth of
        the calls is a stall and not the usual pace, however often it happens in a hundred calls. A
        suspect measure has 1.5 times the 90th percentile of its known values.
        """
        if len(self) < LEAST:
            return None
        if not self.is_suspect:
            return min(self._quantile(_USUAL), _STRETCH * self._quantile(_NEARLY_USUAL))
        known = [value for value in self._rank() if math.isfinite(value)]
        return _STRETCH * _pick(known, _NEARLY_USUAL) if known else 0.0

    def find_median(self) -> float | None:
        """Return the median; None while fewer than 20 values are known."""
        return self._quantile(0.5) if len(self) >= LEAST else None

    def _add(self, value: float) -> None:
        self._values.append(value)
        self._ranked = None

    def _quantile(self, part: float) -> float:
        return _pick(self._rank(), part)

    def _rank(self) -> list[float]:
        if self._ranked is None:
            self._ranked = sorted(self._values)
        return self._ranked


def _pick(ranked: list[float], part: float) -> float:
    """Return the nearest rank: the smallest value that `part` of the values do not exceed."""
    return ranked[max(0, math.ceil(part * len(ranked)) - 1)]
