"""Stale workers, their unfinished runs, and expiry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.store.journal.batch import Batch
from tests._support.runs.store_records import (
    ALL_STORE_KINDS,
    ME,
    NOW,
    OTHER_OWNER,
    Parts,
    make_key,
    make_run,
    make_run_end,
    make_segment,
)

pytestmark = pytest.mark.parametrize("store_kind", ALL_STORE_KINDS)

LATER = NOW + timedelta(seconds=30)


async def test_a_worker_without_a_heartbeat_for_too_long_is_stale(parts: Parts) -> None:
    await parts.workers.register("a", NOW)
    await parts.workers.register("b", NOW)
    await parts.workers.register("b", LATER)
    assert await parts.workers.list_stale(LATER, except_for="me") == ["a"]


async def test_a_worker_never_finds_itself_stale(parts: Parts) -> None:
    await parts.workers.register("me", NOW)
    await parts.create_run(worker="me")
    assert await parts.workers.list_stale(LATER, except_for="me") == []


async def test_an_unknown_worker_with_a_running_run_is_stale(parts: Parts) -> None:
    await parts.create_run(worker="unknown")
    await parts.finish_run(worker="done")
    assert await parts.workers.list_stale(NOW, except_for="me") == ["unknown"]


async def test_a_deregistered_worker_is_not_stale(parts: Parts) -> None:
    await parts.workers.register("a", NOW)
    await parts.workers.deregister("a")
    await parts.workers.deregister("never there")
    assert await parts.workers.list_stale(LATER, except_for="me") == []


async def test_unfinished_runs_are_of_all_owners_oldest_first(parts: Parts) -> None:
    left = [await parts.create_run(owner=owner, worker="w") for owner in (ME, OTHER_OWNER)]
    await parts.create_run(worker="another")
    await parts.finish_run(worker="w")
    found = await parts.workers.list_unfinished_runs("w")
    assert [(run.id, run.owner) for run in found] == [
        (run.run_id, run.ask.owner) for run in sorted(left, key=lambda run: run.run_id)
    ]


async def test_expired_events_are_deleted_and_the_answer_stays(parts: Parts) -> None:
    run = make_run()
    end = make_run_end(run, events_expire_at=LATER)
    await parts.journal.write(Batch([run], segments=[make_segment(run, 1, 9)], endings=[end]))
    assert await parts.workers.delete_expired(LATER - timedelta(microseconds=1)) == 0
    assert await parts.runs.list_segments(ME, run.run_id)
    assert await parts.workers.delete_expired(LATER) == 1
    assert await parts.runs.list_segments(ME, run.run_id) == []
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert (stored.answer, stored.events_expired) == ("An answer.", True)
    assert await parts.workers.delete_expired(LATER) == 0


async def test_a_running_run_does_not_expire(parts: Parts) -> None:
    await parts.create_run()
    assert await parts.workers.delete_expired(NOW + timedelta(days=9_999)) == 0


async def test_expired_keys_are_deleted(parts: Parts) -> None:
    await parts.create_run(key=make_key("old", expires_at=NOW))
    await parts.create_run(key=make_key("new", expires_at=LATER))
    await parts.workers.delete_expired(NOW)
    long_ago = NOW - timedelta(days=1)
    assert await parts.runs.find_key(ME, "old", long_ago) is None
    assert await parts.runs.find_key(ME, "new", long_ago) is not None
