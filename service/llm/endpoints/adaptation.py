"""Adaptation of an endpoint's limits to the server's refusals and headers. Independent of HTTP.

A refusal halves the limits, and they recover steadily within the next minute (additive increase,
multiplicative decrease), because a configured limit may be too high, or shared with others.
Source: https://www.rfc-editor.org/rfc/rfc5681 (congestion control)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.llm.endpoints.rate_headers import LimitUnit, RemainingRate

_DECREASE = 0.5
_LEAST_SHARE = 0.1
_RECOVERY_PER_S = 1 / 120  # from a half to the whole in one minute
_PAUSE_S = 1.0  # after a refusal without Retry-After
_LONGEST_PAUSE_S: Final = 300.0
_LONGEST_RESET_S = 60.0
_MOST_MODELS = 256


@dataclass(slots=True)
class _Allowance:
    """The rest of a limit as the server stated it, less the calls since then."""

    remaining: float
    noted_at: float
    resets_at: float
    per_s: float | None  # of a limit that fills up steadily, as all known servers' limits do

    def find_free_at(self, amount: float) -> float:
        if self.remaining >= amount:
            return self.noted_at
        if self.per_s:
            return min(self.resets_at, self.noted_at + (amount - self.remaining) / self.per_s)
        return self.resets_at


class AdaptiveRate:
    """The share of the configured limits that is used now, and the pauses of single models."""

    def __init__(self) -> None:
        self._share = 1.0
        self._reduced_at = float("-inf")
        self._paused_until: dict[str, float] = {}
        self._allowances: dict[tuple[str, LimitUnit], _Allowance] = {}

    def share(self, now: float) -> float:
        """Return the share of the limits to use, at most 1."""
        return min(1.0, self._share + max(0.0, now - self._reduced_at) * _RECOVERY_PER_S)

    def apply(self, limit: int, now: float) -> int:
        """Return the part of `limit` to use, at least 1."""
        return max(1, int(limit * self.share(now)))

    def record_refusal(
        self, model: str, *, started_at: float, now: float, retry_after_s: float | None
    ) -> None:
        """Halve the limits and pause `model`.

        The refusals of calls that started before the last reduction are the same event.
        """
        if started_at > self._reduced_at:
            self._share = max(_LEAST_SHARE, self.share(now) * _DECREASE)
            self._reduced_at = now
        pause_s = min(_LONGEST_PAUSE_S, _PAUSE_S if retry_after_s is None else retry_after_s)
        self._make_room()
        self._paused_until[model] = max(self._paused_until.get(model, now), now + pause_s)

    def record_headers(self, model: str, rates: Sequence[RemainingRate], now: float) -> None:
        """Take the rests of limits that a response states."""
        self._make_room()
        for rate in rates:
            reset_s = min(_LONGEST_RESET_S, rate.reset_s)
            used = (rate.limit or 0) - rate.remaining
            per_s = used / rate.reset_s if used > 0 and rate.reset_s else None
            allowance = _Allowance(rate.remaining, now, now + reset_s, per_s)
            self._allowances[model, rate.unit] = allowance

    def find_free_at(self, model: str, tokens: int, now: float) -> float:
        """Return the moment from which the server accepts a call of `model`."""
        at = max(now, self._paused_until.get(model, now))
        needs: tuple[tuple[LimitUnit, int], ...] = (("requests", 1), ("tokens", tokens))
        for unit, amount in needs:
            allowance = self._allowances.get((model, unit))
            if allowance and now < allowance.resets_at:
                at = max(at, allowance.find_free_at(amount))
        return at

    def record_call(self, model: str, tokens: int) -> None:
        """Take a call that starts from the rests of the server's limits."""
        needs: tuple[tuple[LimitUnit, int], ...] = (("requests", 1), ("tokens", tokens))
        for unit, amount in needs:
            if allowance := self._allowances.get((model, unit)):
                allowance.remaining -= amount

    def _make_room(self) -> None:
        if len(self._paused_until) > _MOST_MODELS or len(self._allowances) > 2 * _MOST_MODELS:
            self._paused_until.clear()
            self._allowances.clear()
