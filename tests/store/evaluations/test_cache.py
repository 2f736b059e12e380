"""The cache of evaluations: entries of an owner, their age, their number, and deleted runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.store.conversations import Conversations
from service.store.evaluations.cache import EvaluationCache
from tests._support.runs.store_records import ME, NOW, OTHER_OWNER, Parts

DAY = timedelta(days=1)


@pytest.fixture
def cache(parts: Parts) -> EvaluationCache:
    return EvaluationCache(parts.database)


async def test_an_owner_finds_the_latest_run_of_a_key(parts: Parts, cache: EvaluationCache) -> None:
    first, second = (await parts.finish_run()).run_id, (await parts.finish_run()).run_id
    theirs = (await parts.finish_run(owner=OTHER_OWNER)).run_id
    await cache.add(ME, "key", first, NOW)
    await cache.add(ME, "key", second, NOW)
    await cache.add(OTHER_OWNER, "key", theirs, NOW)
    assert await cache.find(ME, ["key", "another"], NOW) == {"key": second}
    assert await cache.find(OTHER_OWNER, ["key"], NOW) == {"key": theirs}


async def test_many_keys_are_found_at_once(parts: Parts, cache: EvaluationCache) -> None:
    run = (await parts.finish_run()).run_id
    await cache.add(ME, "1900", run, NOW)
    assert await cache.find(ME, [str(number) for number in range(2_000)], NOW) == {"1900": run}


async def test_an_old_entry_is_not_found(parts: Parts, cache: EvaluationCache) -> None:
    await cache.add(ME, "key", (await parts.finish_run()).run_id, NOW - DAY)
    assert await cache.find(ME, ["key"], NOW) == {}
    assert await cache.find(ME, ["key"], NOW - DAY)


async def test_an_entry_is_deleted_with_its_run(parts: Parts, cache: EvaluationCache) -> None:
    run = await parts.finish_run(conversation="conv_gone")
    await cache.add(ME, "key", run.run_id, NOW)
    await Conversations(parts.database).delete(ME, "conv_gone")
    assert await cache.find(ME, ["key"], NOW) == {}


async def test_old_entries_and_the_oldest_above_the_limit_are_deleted(
    parts: Parts, cache: EvaluationCache
) -> None:
    run = (await parts.finish_run()).run_id
    theirs = (await parts.finish_run(owner=OTHER_OWNER)).run_id
    await cache.add(OTHER_OWNER, "day 9", theirs, NOW - 9 * DAY)
    for age in range(5):
        await cache.add(ME, f"day {age}", run, NOW - age * DAY)
    keys = [f"day {age}" for age in range(10)]
    assert await cache.tidy(ME, NOW - 3 * DAY, 10) == 1
    assert await cache.tidy(ME, NOW - 3 * DAY, 2) == 2
    assert set(await cache.find(ME, keys, NOW - 9 * DAY)) == {"day 0", "day 1"}
    assert set(await cache.find(OTHER_OWNER, keys, NOW - 9 * DAY)) == {"day 9"}
