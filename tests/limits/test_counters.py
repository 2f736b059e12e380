"""Counters behave the same in memory and in Redis: each algorithm, and all rules or none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

import pytest

from service.limits.counters import Counter, CounterState, Outcome, to_counter
from service.limits.memory import MemoryCounters
from service.limits.redis import RedisCounters
from service.limits.redis_link import RedisLink
from service.limits.rules import AppliedRule
from tests._support.patience import PATIENCE_S


class _Counters(Protocol):
    async def take(self, counters: Sequence[Counter], lease: str) -> Outcome: ...
    async def peek(self, counters: Sequence[Counter]) -> list[CounterState]: ...
    def release(self, counters: Sequence[Counter], lease: str) -> None: ...


class _InMemory:
    def __init__(self) -> None:
        self._counters = MemoryCounters()

    async def take(self, counters: Sequence[Counter], lease: str) -> Outcome:
        return self._counters.take(counters, lease)

    async def peek(self, counters: Sequence[Counter]) -> list[CounterState]:
        return self._counters.peek(counters)

    def release(self, counters: Sequence[Counter], lease: str) -> None:
        self._counters.release(counters, lease)


class _InRedis:
    def __init__(self, counters: RedisCounters) -> None:
        self._counters = counters

    async def take(self, counters: Sequence[Counter], lease: str) -> Outcome:
        return await self._counters.take(counters, lease)

    async def peek(self, counters: Sequence[Counter]) -> list[CounterState]:
        return await self._counters.peek(counters)

    def release(self, _: Sequence[Counter], lease: str) -> None:
        self._counters.release(lease)


@pytest.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[_Counters]:
    if request.param == "memory":
        yield _InMemory()
        return
    link = RedisLink(request.getfixturevalue("redis_url"), timeout_s=PATIENCE_S)
    in_redis = RedisCounters(link)
    yield _InRedis(in_redis)
    await in_redis.close()


def _rule(**fields: object) -> AppliedRule:
    defaults: dict[str, object] = {"name": "all", "kind": "requests", "subject": "user:1"}
    return AppliedRule(**{**defaults, **fields})  # type: ignore[arg-type]


PER_HOUR = _rule(count=3, period="hour")
PER_DAY = _rule(count=3, period="day")
BUCKET = _rule(count=1, period="hour", burst=3)
STREAMS = _rule(kind="streams", count=3)


async def _take(counters: _Counters, *rules: AppliedRule) -> Outcome:
    return await counters.take([to_counter(each) for each in rules], uuid4().hex)


@pytest.mark.parametrize("rule", [PER_HOUR, PER_DAY, BUCKET, STREAMS])
async def test_the_limit_is_available_and_then_refused(
    counters: _Counters, rule: AppliedRule
) -> None:
    taken = [await _take(counters, rule) for _ in range(3)]
    assert [each.states[0].remaining for each in taken] == [2, 1, 0]
    assert not any(each.refused_by for each in taken)
    for _ in range(2):
        refused = (await _take(counters, rule)).refused_by
        assert refused is not None
        assert (refused.rule, refused.limit, refused.remaining) == (rule, 3, 0)
        assert 0 < refused.retry_s <= 86_400


@pytest.mark.parametrize("rule", [PER_HOUR, PER_DAY, BUCKET, STREAMS])
async def test_subjects_and_rules_have_their_own_counters(
    counters: _Counters, rule: AppliedRule
) -> None:
    for other in (rule, replace(rule, subject="user:2"), replace(rule, name="other")):
        assert (await _take(counters, other)).states[0].remaining == 2


@pytest.mark.parametrize("rule", [PER_HOUR, PER_DAY, BUCKET, STREAMS])
async def test_a_reader_of_the_state_takes_nothing(counters: _Counters, rule: AppliedRule) -> None:
    await _take(counters, rule)
    for _ in range(5):
        (state,) = await counters.peek([to_counter(rule)])
        assert state.remaining == 2


async def test_a_request_takes_from_all_rules_or_from_none(counters: _Counters) -> None:
    narrow = _rule(name="narrow", count=1, period="hour")
    rules = [PER_HOUR, BUCKET, PER_DAY, STREAMS, narrow]
    assert (await _take(counters, *rules)).refused_by is None
    for _ in range(5):
        refused = await _take(counters, *rules)
        assert refused.refused_by is not None
        assert refused.refused_by.rule == narrow
    states = await counters.peek([to_counter(each) for each in rules])
    assert [each.remaining for each in states] == [2, 2, 2, 2, 0]


async def test_racing_requests_take_exactly_the_limit(counters: _Counters) -> None:
    rules = [_rule(count=50, period="hour"), _rule(name="b", count=1, period="day", burst=40)]
    outcomes = await asyncio.gather(*(_take(counters, *rules) for _ in range(500)))
    assert sum(each.refused_by is None for each in outcomes) == 40


async def test_a_window_is_free_again_after_its_length(counters: _Counters) -> None:
    rule = _rule(count=5, window_s=1.0)
    for _ in range(5):
        assert (await _take(counters, rule)).refused_by is None
    refused = (await _take(counters, rule)).refused_by
    assert refused is not None
    assert refused.retry_s <= 1.0
    await asyncio.sleep(refused.reset_s + 0.05)
    assert [(await _take(counters, rule)).refused_by for _ in range(5)] == [None] * 5


async def test_a_bucket_gains_requests_evenly(counters: _Counters) -> None:
    rule = _rule(count=4, period="second", burst=2)
    started = time.monotonic()
    accepted = 0
    while accepted < 6:
        outcome = await _take(counters, rule)
        accepted += outcome.refused_by is None
        await asyncio.sleep(outcome.refused_by.retry_s if outcome.refused_by else 0)
    assert time.monotonic() - started > 0.9  # four more than the bucket holds


async def test_an_ended_stream_is_available_to_the_next(counters: _Counters) -> None:
    counter = to_counter(replace(STREAMS, count=1))
    assert (await counters.take([counter], "a")).refused_by is None
    assert (await counters.take([counter], "b")).refused_by is not None
    counters.release([counter], "b")  # never held
    assert (await counters.take([counter], "b")).refused_by is not None
    counters.release([counter], "a")
    counters.release([counter], "a")
    assert (await counters.take([counter], "b")).refused_by is None


async def test_a_lower_limit_applies_to_what_is_already_used(counters: _Counters) -> None:
    for rule in (PER_HOUR, PER_DAY, BUCKET, STREAMS):
        for _ in range(3):
            await _take(counters, rule)
        lower = replace(rule, burst=1) if rule.burst else replace(rule, count=1)
        (state,) = await counters.peek([to_counter(lower)])
        assert state.remaining == 0
        refused = (await _take(counters, lower)).refused_by
        assert refused is not None
        assert (refused.remaining, refused.used) == (0, 1)
        assert refused.retry_s > 0


async def test_a_rule_may_change_its_algorithm(counters: _Counters) -> None:
    for rule in (PER_HOUR, PER_DAY, BUCKET, STREAMS):
        assert (await _take(counters, replace(rule, name="same"))).states[0].remaining == 2


def test_a_share_is_never_zero_and_never_more_than_the_limit() -> None:
    for rule in (PER_HOUR, PER_DAY, BUCKET, STREAMS):
        counter = to_counter(replace(rule, count=10, burst=10 if rule.burst else None))
        assert [counter.share(n).count for n in (1, 2, 3, 4, 64)] == [10, 5, 3, 2, 1]
    bucket = to_counter(_rule(count=60, period="minute", burst=10))
    assert bucket.share(2).emission_s == pytest.approx(2 * bucket.emission_s)


def test_memory_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    counters = MemoryCounters(max_counters=100)
    for rule in (PER_HOUR, PER_DAY, BUCKET):
        for number in range(1_000):
            counters.take([to_counter(replace(rule, subject=f"address:{number}"))])
        first, last = (to_counter(replace(rule, subject=f"address:{n}")) for n in (0, 999))
        assert [each.remaining for each in counters.peek([first, last])] == [3, 2]
