"""Redis may be lost, frozen, emptied or have another clock: a call fails soon, and works again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis as Client

from service.limits.counters import to_counter
from service.limits.redis import RedisCounters
from service.limits.redis_link import RedisLink
from service.limits.rules import AppliedRule
from service.redis.unavailable import RedisUnavailable
from tests._support.patience import PATIENCE_S
from tests._support.servers.databases import Redis, redis_server

ECHO = "return ARGV[1]"
PER_HOUR = AppliedRule(name="all", kind="requests", subject="user:1", count=3, period="hour")
BUCKET = AppliedRule(
    name="all", kind="requests", subject="user:1", count=1, period="second", burst=3
)
STREAMS = AppliedRule(name="all", kind="streams", subject="user:1", count=3)


@pytest.fixture
def server() -> Iterator[Redis]:
    """A Redis of its own: it is stopped and frozen."""
    with redis_server(password="secret") as server:
        yield server


@pytest.fixture
async def link(server: Redis) -> AsyncIterator[RedisLink]:
    link = RedisLink(server.url, timeout_s=0.5, rest_s=0.2)
    yield link
    await link.close()


async def _until_it_works(link: RedisLink) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert await link.run(ECHO, [], ["back"]) == b"back"
            except RedisUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def _count(server: Redis, command: str) -> int:
    async with Client.from_url(server.url) as client:
        stats = await client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_calls_that_arrive_together_share_a_round_trip(
    server: Redis, link: RedisLink
) -> None:
    assert await link.run(ECHO, [], ["first"]) == b"first"
    before = await _count(server, "evalsha")
    replies = await asyncio.gather(*(link.run(ECHO, [], [number]) for number in range(300)))
    assert replies == [str(number).encode() for number in range(300)]
    assert await _count(server, "evalsha") == before + 300
    assert await _count(server, "script") == 1


async def test_a_request_with_several_rules_is_one_call(server: Redis, link: RedisLink) -> None:
    counters = [to_counter(each) for each in (PER_HOUR, BUCKET, STREAMS)]
    in_redis = RedisCounters(link)
    await in_redis.take(counters, "a")
    before = await _count(server, "evalsha")
    await in_redis.take(counters, "b")
    assert await _count(server, "evalsha") == before + 1


async def test_scripts_that_redis_has_forgotten_are_loaded_again(
    server: Redis, link: RedisLink
) -> None:
    assert await link.run(ECHO, [], ["a"]) == b"a"
    async with Client.from_url(server.url) as client:
        await client.script_flush()
    assert await link.run(ECHO, [], ["b"]) == b"b"


async def test_a_lost_redis_is_reported_once_and_used_again(
    server: Redis, link: RedisLink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.limits")
    assert await link.run(ECHO, [], ["a"]) == b"a"
    server.stop()
    for _ in range(20):
        with pytest.raises(RedisUnavailable):
            await link.run(ECHO, [], ["b"])
        await asyncio.sleep(0.02)
    states = [link.is_down]
    server.start()
    await _until_it_works(link)
    assert [*states, link.is_down] == [True, False]
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"], caplog.text
    assert server.password not in caplog.text


async def test_a_frozen_redis_costs_one_time_out_per_rest(server: Redis, link: RedisLink) -> None:
    assert await link.run(ECHO, [], ["a"]) == b"a"
    server.stop_the_world()
    try:
        calls = [link.run(ECHO, [], [number]) for number in range(200)]
        failed = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, RedisUnavailable) for each in failed)
        started = time.monotonic()
        for _ in range(1_000):
            with pytest.raises(RedisUnavailable):
                await link.run(ECHO, [], ["b"])
        assert time.monotonic() - started < 0.5 * 1_000 / 20  # not a time-out each
    finally:
        server.resume()
    await _until_it_works(link)


async def test_a_busy_process_does_not_take_its_own_delay_for_an_outage(
    server: Redis, link: RedisLink
) -> None:
    assert await link.run(ECHO, [], ["a"]) == b"a"
    call = asyncio.ensure_future(link.run(ECHO, [], ["b"]))
    await asyncio.sleep(0.005)  # it is under way
    time.sleep(0.8)  # noqa: ASYNC251  # longer than the time-out
    assert await call == b"b"


async def test_the_stream_of_a_client_that_left_is_released(server: Redis, link: RedisLink) -> None:
    in_redis = RedisCounters(link)
    counters = [to_counter(STREAMS)]
    await in_redis.peek(counters)
    for number in range(5):
        task = asyncio.create_task(in_redis.take(counters, str(number)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(PATIENCE_S):
        while (await in_redis.peek(counters))[0].remaining < 3:
            await asyncio.sleep(0.02)


async def test_streams_that_redis_has_lost_are_counted_again(
    server: Redis, link: RedisLink
) -> None:
    in_redis = RedisCounters(link, renewal_s=0.05)
    counters = [to_counter(STREAMS)]
    await in_redis.take(counters, "a")
    server.empty()
    renewing = asyncio.create_task(in_redis.renew_leases())
    async with asyncio.timeout(PATIENCE_S):
        while (await in_redis.peek(counters))[0].remaining > 2:
            await asyncio.sleep(0.02)
    renewing.cancel()


async def test_streams_of_a_killed_process_expire(server: Redis, link: RedisLink) -> None:
    counters = [to_counter(STREAMS)]
    killed = RedisCounters(link, lease_s=0.3)
    await killed.take(counters, "a")
    other = RedisCounters(link)
    assert (await other.peek(counters))[0].remaining == 2
    async with asyncio.timeout(PATIENCE_S):
        while (await other.peek(counters))[0].remaining < 3:
            await asyncio.sleep(0.05)


async def test_a_clock_that_was_set_back_refuses_no_requests_for_long(
    server: Redis, link: RedisLink
) -> None:
    in_redis = RedisCounters(link)
    hours_s = 10 * 3_600
    bucket, window, streams = (to_counter(each) for each in (BUCKET, PER_HOUR, STREAMS))
    async with Client.from_url(server.url) as client:
        prefix = "llm-sse:limit:"
        future = time.time() + hours_s
        await client.set(prefix + bucket.key, future - 1_735_660_800)
        await client.lpush(prefix + window.key, *[f"{future:.6f}"] * 3)
        await client.zadd(prefix + streams.key, dict.fromkeys("abc", future))
    states = await in_redis.peek([bucket, window, streams])
    assert states[0].reset_s <= 4
    assert [each.remaining for each in states[1:]] == [3, 3]
