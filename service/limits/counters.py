"""Counters of rules: their algorithms, and the states that they can have. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from service.limits.amounts import PERIOD_S, end_of_period, start_of_period
from service.limits.rules import AppliedRule

Algorithm = Literal["bucket", "window", "calendar", "leases"]
"""
- bucket: tokens that refill evenly, for rules with a burst.
- window: at most so many in any window of the period's length.
- calendar: at most so many in a day, week or month that starts at UTC midnight.
- leases: at most so many open at once.
"""

_CALENDAR: Final = frozenset({"day", "week", "month"})


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter of a rule for one subject.

    `count` is the limit, and the size of a bucket; `period_s` the length of the window, or of the
    refill of the whole bucket, and for calendar periods the time until the end.
    """

    rule: AppliedRule
    algorithm: Algorithm
    key: str
    count: int
    period_s: float = 0.0

    @property
    def emission_s(self) -> float:
        """The time in which a bucket gains one request."""
        return self.period_s / self.count

    def share(self, processes: int) -> Counter:
        """Return the part of this counter for one of several processes: at least 1."""
        if processes == 1:
            return self
        if self.algorithm == "bucket":
            # The bucket refills more slowly, and is smaller.
            count = max(1, self.count // processes)
            return replace(self, count=count, period_s=self.emission_s * processes * count)
        return replace(self, count=max(1, self.count // processes))


@dataclass(frozen=True, slots=True)
class CounterState:
    """The state of a counter after a request.

    `limit` is the count of the rule, or the process's share of it. `reset_s` is the time until the
    whole limit is available again, `retry_s` of a refused request until the next one may succeed.
    When open streams end is not known: `reset_s` is 0 for them.
    """

    rule: AppliedRule
    limit: int
    remaining: int
    reset_s: float
    retry_s: float = 0.0

    @property
    def used(self) -> int:
        """The part of the limit that is used."""
        return self.limit - self.remaining


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of taking from all counters of a request: all of them, or none.

    `refused_by` is the counter without a rest. `is_shared`: the counters are those of all
    processes, not the share of one.
    """

    states: Sequence[CounterState]
    refused_by: CounterState | None = None
    is_shared: bool = False


def to_counter(rule: AppliedRule, now: datetime | None = None) -> Counter:
    """Return the counter of a rule at a time, by default now."""
    if rule.kind == "streams":
        return _counter(rule, "leases", rule.count)
    if rule.window_s is not None:
        return _counter(rule, "window", rule.count, rule.window_s)
    if rule.period is None:
        raise ValueError(f"the rule {rule.name} has no period")
    length_s = PERIOD_S[rule.period]
    if rule.burst is not None:
        return _counter(rule, "bucket", rule.burst, length_s / rule.count * rule.burst)
    if rule.period not in _CALENDAR:
        return _counter(rule, "window", rule.count, length_s)
    now = now or datetime.now(UTC)
    start, end = start_of_period(rule.period, now), end_of_period(rule.period, now)
    rest_s = math.ceil((end - now).total_seconds()) or 1
    counter = _counter(rule, "calendar", rule.count, rest_s)
    return replace(counter, key=f"{counter.key}:{rule.period}:{start:%Y-%m-%d}")


def _counter(rule: AppliedRule, algorithm: Algorithm, count: int, period_s: float = 0.0) -> Counter:
    # A rule that changes its algorithm has another counter: the stored values differ.
    return Counter(rule, algorithm, f"{algorithm}:{rule.name}:{rule.subject}", count, period_s)
