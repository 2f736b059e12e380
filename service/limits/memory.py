"""Counters in the memory of this process.

The algorithms are those of throttled-py, on its store, which forgets the counter that was used
longest ago when it is full. Its sliding window is not used: see docs/design/limits.md.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from throttled.rate_limiter.fixed_window import MemoryLimitAtomicAction as CalendarAction
from throttled.rate_limiter.gcra import MemoryLimitAtomicAction as BucketAction
from throttled.store import MemoryStore

from service.limits.counters import Algorithm, Counter, CounterState, Outcome

MAX_COUNTERS: Final = 50_000  # of each kind: about 20 MB


class MemoryCounters:
    """Counters of one process.

    Requests are taken without a wait, so that two of them cannot take the same rest.
    """

    def __init__(self, max_counters: int = MAX_COUNTERS) -> None:
        store = MemoryStore(options={"MAX_SIZE": max_counters})
        self._bucket = store.make_atomic(BucketAction)
        self._calendar = store.make_atomic(CalendarAction)
        self._windows = _Windows(max_counters)
        self._leases: dict[str, set[str]] = {}
        self._algorithms: dict[Algorithm, Callable[[Counter, int, str], CounterState]] = {
            "bucket": self._take_from_bucket,
            "calendar": self._take_from_calendar,
            "window": self._windows.take,
            "leases": self._take_lease,
        }

    def take(self, counters: Sequence[Counter], lease: str = "") -> Outcome:
        """Take one from every counter if each has a rest, else from none.

        `lease` identifies an open stream until `release`.
        """
        states = self.peek(counters)
        for counter, state in zip(counters, states, strict=True):
            if state.remaining < 1:
                return Outcome(states, self._algorithms[counter.algorithm](counter, 1, lease))
        return Outcome([self._algorithms[each.algorithm](each, 1, lease) for each in counters])

    def peek(self, counters: Sequence[Counter]) -> list[CounterState]:
        """Return the states of counters without taking from them."""
        return [self._algorithms[each.algorithm](each, 0, "") for each in counters]

    def hold(self, counters: Sequence[Counter], lease: str) -> None:
        """Count an open stream that was taken elsewhere."""
        for each in counters:
            if each.algorithm == "leases":
                self._leases.setdefault(each.key, set()).add(lease)

    def release(self, counters: Sequence[Counter], lease: str) -> None:
        """End an open stream."""
        for each in counters:
            leases = self._leases.get(each.key, set())
            leases.discard(lease)
            if not leases:
                self._leases.pop(each.key, None)

    def _take_from_bucket(self, counter: Counter, cost: int, _lease: str) -> CounterState:
        arguments = [counter.emission_s, counter.count, cost]
        _, remaining, reset_s, retry_s = self._bucket.do([counter.key], arguments)
        remaining = max(0, int(remaining))
        return CounterState(counter.rule, counter.count, remaining, reset_s, retry_s)

    def _take_from_calendar(self, counter: Counter, cost: int, _lease: str) -> CounterState:
        arguments = [math.ceil(counter.period_s), counter.count, cost]
        limited, used = self._calendar.do([counter.key], arguments)
        retry_s = counter.period_s if limited else 0.0
        remaining = max(0, counter.count - int(used))
        return CounterState(counter.rule, counter.count, remaining, counter.period_s, retry_s)

    def _take_lease(self, counter: Counter, cost: int, lease: str) -> CounterState:
        open_streams = len(self._leases.get(counter.key, ()))
        is_free = open_streams < counter.count
        if cost and is_free:
            self.hold([counter], lease)
            open_streams += 1
        remaining = max(0, counter.count - open_streams)
        return CounterState(counter.rule, counter.count, remaining, 0.0, 0.0 if is_free else 1.0)


class _Windows:
    """Exact windows: the times of the accepted requests, in seconds of the monotonic clock."""

    def __init__(self, max_counters: int) -> None:
        self._max_counters = max_counters
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, counter: Counter, cost: int, _lease: str) -> CounterState:
        now = time.monotonic()
        times = self._times.get(counter.key) or deque()
        while times and times[0] <= now - counter.period_s:
            times.popleft()
        is_free = len(times) < counter.count
        if cost and is_free:
            times.append(now)
            self._store(counter.key, times)
        return CounterState(
            counter.rule,
            counter.count,
            max(0, counter.count - len(times)),
            times[-1] + counter.period_s - now if times else 0.0,
            0.0 if is_free else times[-counter.count] + counter.period_s - now,
        )

    def _store(self, key: str, times: deque[float]) -> None:
        self._times[key] = times
        self._times.move_to_end(key)
        if len(self._times) > self._max_counters:
            self._times.popitem(last=False)
