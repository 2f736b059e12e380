"""Decides whether a request is within the limits of its caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from service.limits.counters import Counter, CounterState, Outcome, to_counter
from service.limits.defaults import DefaultLimit
from service.limits.rules import DEFAULT, OWN, AppliedRule, Kind, Rules
from service.limits.use import Use
from service.redis.unavailable import RedisUnavailable
from service.settings import Settings

if TYPE_CHECKING:
    from service.limits.memory import MemoryCounters
    from service.limits.redis import RedisCounters

COUNTED: Final[tuple[Kind, ...]] = ("requests", "streams")
"""The kinds that are decided here; tokens and money are reserved with a run."""


class Permit:
    """The outcome of a request's limits, and its open stream until `release`."""

    def __init__(self, outcome: Outcome, release: Callable[[], None]) -> None:
        self.outcome = outcome
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """End the open stream of the request; a second call does nothing."""
        release, self._release = self._release, None
        if release:
            release()


class Limiter:
    """The limits of requests and open streams.

    The counters are in Redis, or in the memory of each of `processes` processes, which applies its
    share of every limit; so does a process that cannot reach Redis.
    """

    def __init__(
        self,
        rules: Callable[[], Rules],
        default: DefaultLimit,
        redis: RedisCounters | None,
        processes: int,
    ) -> None:
        self._rules = rules
        self._default = default
        self._redis = redis
        self._processes = processes

    @cached_property
    def _memory(self) -> MemoryCounters:
        """The counters of this process; imported for the first limited request, in 20 ms."""
        from service.limits.memory import MemoryCounters

        return MemoryCounters()

    @property
    def rules(self) -> Rules:
        """The current rules of the file."""
        return self._rules()

    @property
    def uses_redis(self) -> bool:
        """Whether the counters are in Redis while it is available."""
        return self._redis is not None

    @property
    def is_shared(self) -> bool:
        """Whether all processes count together: there is one, or Redis is available."""
        return self._processes == 1 if self._redis is None else not self._redis.is_down

    def describe_sharing(self) -> str:
        """Return a sentence about which processes count together."""
        if self.is_shared:
            return "shared in Redis" if self._redis else "counted by this process"
        if self._redis:
            return "Redis is unavailable: each process applies its share"
        return f"without Redis each of {self._processes} processes applies its share"

    def needs_ensemble(self, use: Use) -> bool:
        """Return whether the limits of a request depend on the ensemble of its run."""
        rules, principal = self._rules(), use.principal
        return use.starts_run and any(rules.needs_ensemble(principal, each) for each in COUNTED)

    def find_rules(self, use: Use, ensemble: str | None = None) -> list[AppliedRule]:
        """Return the limits of a request; `ensemble` is that of its run, if it is known."""
        kinds: Sequence[Kind] = COUNTED if use.is_answer else COUNTED[:1]
        found = self._rules().applicable(use.principal, ensemble, kinds)
        is_ruled = any(each.kind == "requests" and each.name not in OWN for each in found)
        default = None if is_ruled or not use.starts_run else self._default.find(use)
        return [*found, default] if default else found

    def find_possible_rules(self, use: Use) -> list[AppliedRule]:
        """Return the limits that may apply to such a request, also at other routes."""
        default = [each for each in self.find_rules(use) if each.name == DEFAULT]
        return [*self._rules().possible(use.principal, COUNTED), *default]

    async def take(self, rules: Sequence[AppliedRule]) -> Permit:
        """Take one from every limit if each has a rest, else from none."""
        counters = [to_counter(each) for each in rules]
        lease = uuid4().hex if any(each.algorithm == "leases" for each in counters) else ""
        outcome = await self._take(counters, lease)
        if outcome.refused_by or not lease:
            return Permit(outcome, lambda: None)
        return Permit(outcome, lambda: self._release(counters, lease))

    async def peek(self, rules: Sequence[AppliedRule]) -> list[CounterState]:
        """Return the states of limits without taking from them."""
        counters = [to_counter(each) for each in rules]
        if self._redis:
            try:
                return await self._redis.peek(counters)
            except RedisUnavailable:
                pass
        return self._memory.peek(self._share(counters))

    async def renew_leases(self) -> None:
        """Extend the open streams of this process in Redis until cancelled."""
        if self._redis:
            await self._redis.renew_leases()

    async def close(self) -> None:
        """Close the connections."""
        if self._redis:
            await self._redis.close()

    async def _take(self, counters: Sequence[Counter], lease: str) -> Outcome:
        if self._redis:
            try:
                outcome = await self._redis.take(counters, lease)
            except RedisUnavailable:
                pass
            else:
                if not outcome.refused_by:
                    self._memory.hold(counters, lease)
                return outcome
        outcome = self._memory.take(self._share(counters), lease)
        if self._redis and not outcome.refused_by:
            self._redis.hold(counters, lease)
        return outcome

    def _share(self, counters: Sequence[Counter]) -> list[Counter]:
        return [each.share(self._processes) for each in counters]

    def _release(self, counters: Sequence[Counter], lease: str) -> None:
        self._memory.release(counters, lease)
        if self._redis:
            self._redis.release(lease)


def open_limiter(settings: Settings, rules: Callable[[], Rules]) -> Limiter:
    """Return the limiter of one process; its counters are in Redis if the settings name one."""
    redis = _open_redis_counters(settings.redis) if settings.redis else None
    return Limiter(rules, DefaultLimit(settings), redis, settings.workers)


def _open_redis_counters(url: str) -> RedisCounters:
    from service.limits.redis import RedisCounters
    from service.limits.redis_link import RedisLink

    return RedisCounters(RedisLink(url))
