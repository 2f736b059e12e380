"""Sliding window: an amount that may be used in any 60 seconds. Independent of HTTP.

A token bucket that is full would permit twice its rate in its first minute, which a server that
counts by minutes refuses.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 60.0
# Uses within a step are counted together. A power of two, so that moments are exact.
_STEP_S = 0.125


@dataclass(slots=True)
class WindowUse:
    """The uses of one step; `at` is its end."""

    at: float
    amount: int


class SlidingWindow:
    """The uses of the last 60 seconds. Moments are in seconds of one clock."""

    def __init__(self) -> None:
        self._uses: deque[WindowUse] = deque()
        self._total = 0

    def used(self, now: float) -> int:
        """Return the amount that was used in the last 60 seconds."""
        self._expire(now)
        return self._total

    def add(self, now: float, amount: int) -> WindowUse:
        """Record a use; return it for `correct`."""
        self._expire(now)
        at = (now // _STEP_S + 1) * _STEP_S
        if not self._uses or self._uses[-1].at < at:
            self._uses.append(WindowUse(at, 0))
        use = self._uses[-1]
        use.amount += amount
        self._total += amount
        return use

    def correct(self, now: float, use: WindowUse, difference: int) -> None:
        """Change an earlier use, unless it has left the window."""
        self._expire(now)
        if use.at + WINDOW_S > now:
            use.amount += difference
            self._total += difference

    def find_free_at(self, now: float, amount: int, limit: int) -> float:
        """Return the moment at which `amount` more does not exceed `limit`.

        An amount above the limit is free when the window is empty.
        """
        self._expire(now)
        excess = self._total + amount - max(limit, amount)
        at = now
        for use in self._uses:
            if excess <= 0:
                break
            excess -= use.amount
            at = use.at + WINDOW_S
        return at

    def _expire(self, now: float) -> None:
        while self._uses and self._uses[0].at + WINDOW_S <= now:
            self._total -= self._uses.popleft().amount
