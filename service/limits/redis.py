"""Counters in Redis, shared by all processes that use it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from service.limits.counters import Counter, CounterState, Outcome
from service.limits.redis_link import Argument, RedisLink
from service.limits.script import RELEASE, RENEW, read_take_script

_PREFIX: Final = "llm-sse:limit:"


class RedisCounters:
    """Counters in Redis, and the open streams of this process, as leases that it renews.

    A killed process holds its streams for `lease_s` more.
    """

    def __init__(self, link: RedisLink, *, lease_s: float = 30.0, renewal_s: float = 10.0) -> None:
        self._link = link
        self._lease_s = lease_s
        self._renewal_s = renewal_s
        self._take = read_take_script()
        self._leases: dict[str, list[str]] = {}  # the keys of each

    @property
    def is_down(self) -> bool:
        """Whether Redis could not be asked the last time."""
        return self._link.is_down

    async def take(self, counters: Sequence[Counter], lease: str) -> Outcome:
        """Take one from every counter if each has a rest, else from none.

        `lease` identifies an open stream until `release`. Raises RedisUnavailable.
        """
        self.hold(counters, lease)
        try:
            states, refused_by = await self._run(counters, 1, lease)
        except BaseException:
            self.release(lease)  # a client that has left: the script may have run
            raise
        if refused_by:
            self._leases.pop(lease, None)
        return Outcome(states, refused_by, is_shared=True)

    def hold(self, counters: Sequence[Counter], lease: str) -> None:
        """Hold an open stream that was counted elsewhere; the next renewal counts it here."""
        if streams := [_PREFIX + each.key for each in counters if each.algorithm == "leases"]:
            self._leases[lease] = streams

    async def peek(self, counters: Sequence[Counter]) -> list[CounterState]:
        """Return the states of counters without taking from them. Raises RedisUnavailable."""
        states, _ = await self._run(counters, 0, "")
        return states

    def release(self, lease: str) -> None:
        """End an open stream, soon."""
        if keys := self._leases.pop(lease, None):
            self._link.post(RELEASE, keys, [lease])

    async def renew_leases(self) -> None:
        """Extend the leases of this process until cancelled, so that those of dead ones expire.

        Connects first, and loads the script, so that no request waits for that.
        """
        self._link.post(self._take, [], [0, ""])
        while True:
            await asyncio.sleep(self._renewal_s)
            for lease, keys in list(self._leases.items()):
                self._link.post(RENEW, keys, [lease, self._lease_s])

    async def close(self) -> None:
        """End the streams of this process and close the connections."""
        for lease in list(self._leases):
            self.release(lease)
        await self._link.close()

    async def _run(
        self, counters: Sequence[Counter], cost: int, lease: str
    ) -> tuple[list[CounterState], CounterState | None]:
        arguments: list[Argument] = [cost, lease]
        for each in counters:
            arguments += [each.algorithm, each.count, self._duration_of(each)]
        keys = [_PREFIX + each.key for each in counters]
        replies = await self._link.run(self._take, keys, arguments)
        states = [_to_state(*pair) for pair in zip(counters, replies, strict=True)]
        refused = (state for state, reply in zip(states, replies, strict=True) if int(reply[0]))
        return states, next(refused, None)

    def _duration_of(self, counter: Counter) -> float:
        """Return the duration that the script needs, in seconds."""
        if counter.algorithm == "leases":
            return self._lease_s
        return counter.emission_s if counter.algorithm == "bucket" else counter.period_s


def _to_state(counter: Counter, reply: Any) -> CounterState:
    _, remaining, reset_s, retry_s = reply
    return CounterState(counter.rule, counter.count, int(remaining), float(reset_s), float(retry_s))
