"""Waits between attempts to log in, counted in the database and in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.access.backoff import AttemptCount, Backoff
from service.accounts.logins.redis_attempts import RedisAttempts
from service.accounts.logins.throttle import AttemptCounts, LoginThrottle
from service.errors import RequestError, StorageUnavailable
from service.store.accounts.attempts import DatabaseAttempts
from service.store.database import Database
from service.store.migrate import migrate
from tests._support.servers.databases import Redis

_BACKOFF = Backoff(free=3, longest_s=60, forget_s=600)


def test_waits_double_after_the_free_attempts() -> None:
    assert [_BACKOFF.wait_after(number) for number in range(1, 11)] == [
        0, 0, 1, 2, 4, 8, 16, 32, 60, 60,
    ]  # fmt: skip


def test_a_clock_that_is_set_back_does_not_lengthen_a_wait() -> None:
    count = AttemptCount(5, 1_000_000.0)
    assert count.wait_s(1_000_001.0, _BACKOFF) == 3
    assert count.wait_s(0.0, _BACKOFF) == 4
    assert count.wait_s(1_000_010.0, _BACKOFF) == 0


def test_attempts_are_forgotten_after_a_pause() -> None:
    count = AttemptCount(50, 1_000_000.0)
    assert count.after_attempt(1_000_100.0, _BACKOFF).attempts == 51
    assert count.after_attempt(1_000_601.0, _BACKOFF).attempts == 1


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
async def counts(request: pytest.FixtureRequest) -> AsyncIterator[list[AttemptCounts]]:
    """The counts of two processes."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        clients = [RedisAttempts(url, timeout_s=60) for _ in range(2)]
        yield [*clients]
        for client in clients:
            await client.close()
        return
    url = request.getfixturevalue({"sqlite": "sqlite_url"}.get(request.param, "postgres_url"))
    await migrate(url)
    databases = [Database(url, timeout_s=60) for _ in range(2)]
    yield [DatabaseAttempts(each) for each in databases]
    for database in databases:
        await database.close()


async def test_two_processes_share_the_free_attempts(counts: list[AttemptCounts]) -> None:
    long_wait = Backoff(free=7, longest_s=900)
    subjects = {"account": long_wait, "address": Backoff(free=1_000)}
    waits = await asyncio.gather(*(counts[i % 2].take(subjects) for i in range(30)))
    admitted = [wait for wait in waits if wait == 0]
    assert 7 <= len(admitted) <= 12  # the waits after the seventh are 1, 2, 4 … seconds
    assert max(waits) > 0


async def test_a_refused_attempt_counts_on_no_subject(counts: list[AttemptCounts]) -> None:
    first, second = counts
    assert await first.take({"account": Backoff(free=1, longest_s=0.5)}) == 0
    both = {"account": Backoff(free=1), "address": Backoff(free=2)}
    for _ in range(5):
        if await second.take(both) > 0:
            assert await second.take({"address": Backoff(free=1_000)}) == 0


async def test_attempts_can_be_undone_and_forgotten(counts: list[AttemptCounts]) -> None:
    first, second = counts
    for _ in range(4):
        assert await first.take({"shared": Backoff(free=2)}) == 0
        await second.undo(["shared"])
    assert await first.take({"own": Backoff(free=1)}) == 0
    assert await second.take({"own": Backoff(free=1)}) > 0
    await first.forget(["own"])
    assert await second.take({"own": Backoff(free=1)}) == 0


async def _attempt_until_refused(
    throttle: LoginThrottle, account: str, address: str, most: int = 20
) -> RequestError:
    """Return the refusal; the waits double, so a slow machine needs a few attempts more."""
    for _ in range(most):
        try:
            await throttle.admit_login(account, address, "")
        except RequestError as error:
            return error
    raise AssertionError("no attempt was refused")


async def test_a_known_browser_is_not_locked_out_by_strangers(counts: list[AttemptCounts]) -> None:
    throttle = LoginThrottle(counts[0])
    refusal = await _attempt_until_refused(throttle, "alice", "192.0.2.1")
    assert refusal.code == "too_many_attempts"
    assert int(refusal.headers["Retry-After"]) >= 1
    # Another address has no attempts of its own, but few are left for the account.
    refusal = await _attempt_until_refused(throttle, "ALICE", "198.51.100.7", most=5)
    assert refusal.code == "too_many_attempts"
    await throttle.admit_login("alice", "192.0.2.1", "browser-1")
    await throttle.note_success("alice", "192.0.2.1", "browser-1")


async def test_right_passwords_do_not_use_up_the_attempts_of_an_address(
    counts: list[AttemptCounts],
) -> None:
    throttle = LoginThrottle(counts[0])
    for number in range(40):
        await throttle.admit_login(f"user{number}", "192.0.2.1", "")
        await throttle.note_success(f"user{number}", "192.0.2.1", "")


async def test_without_redis_every_attempt_is_refused(redis: Redis) -> None:
    redis.empty()
    counts = RedisAttempts(redis.url, timeout_s=0.3)
    redis.stop_the_world()
    try:
        with pytest.raises(StorageUnavailable):
            await LoginThrottle(counts).admit_login("alice", "192.0.2.1", "")
    finally:
        redis.resume()
    await counts.close()
