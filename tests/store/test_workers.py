"""Heartbeats, takeovers of workers, their unfinished runs, and expiry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.store.journal.batch import Batch
from service.store.workers import WorkerBeat
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


LEASE_S = 15.0


async def _find_beat(parts: Parts, worker_id: str) -> WorkerBeat:
    beats = await parts.workers.list_beats(except_for="me")
    return next(each for each in beats if each.worker_id == worker_id)


async def test_each_heartbeat_is_counted(parts: Parts) -> None:
    assert not await parts.workers.register("a", LEASE_S)
    assert await parts.workers.register("a", LEASE_S)
    found = await _find_beat(parts, "a")
    assert (found.worker_id, found.beat, found.lease_s) == ("a", 2, LEASE_S)


async def test_a_worker_does_not_see_its_own_heartbeat(parts: Parts) -> None:
    await parts.workers.register("me", LEASE_S)
    await parts.create_run(worker="me")
    assert await parts.workers.list_beats(except_for="me") == []


async def test_an_unknown_worker_is_seen_while_it_has_a_running_run(parts: Parts) -> None:
    await parts.create_run(worker="unknown")
    await parts.finish_run(worker="done")
    assert await parts.workers.list_beats(except_for="me") == [WorkerBeat("unknown", None)]


async def test_a_deregistered_worker_is_not_seen(parts: Parts) -> None:
    await parts.workers.register("a", LEASE_S)
    await parts.workers.deregister("a")
    await parts.workers.deregister("never there")
    assert await parts.workers.list_beats(except_for="me") == []


# --- takeover ---


async def test_a_takeover_gives_the_running_runs_to_the_other_worker(parts: Parts) -> None:
    await parts.workers.register("a", LEASE_S)
    running, ended = await parts.create_run(worker="a"), await parts.finish_run(worker="a")
    another = await parts.create_run(worker="b")
    assert await parts.workers.take_over(await _find_beat(parts, "a"), by="me")
    assert await parts.workers.list_running_ids("me") == [running.run_id]
    assert await parts.workers.list_running_ids("b") == [another.run_id]
    stored = [await parts.runs.get(ME, run.run_id) for run in (running, ended, another)]
    assert [run.attempt for run in stored if run] == [2, 1, 1]


async def test_a_worker_that_was_taken_over_is_deregistered(parts: Parts) -> None:
    await parts.workers.register("a", LEASE_S)
    assert await parts.workers.take_over(await _find_beat(parts, "a"), by="me")
    assert await parts.workers.list_beats(except_for="me") == []
    assert not await parts.workers.register("a", LEASE_S)


@pytest.mark.parametrize("is_registered", [True, False])
async def test_a_heartbeat_prevents_a_takeover(parts: Parts, is_registered: bool) -> None:
    run = await parts.create_run(worker="a")
    if is_registered:
        await parts.workers.register("a", LEASE_S)
    seen = await _find_beat(parts, "a")
    await parts.workers.register("a", LEASE_S)
    assert not await parts.workers.take_over(seen, by="me")
    assert await parts.workers.list_running_ids("a") == [run.run_id]


async def test_runs_of_an_unregistered_worker_can_be_taken_over(parts: Parts) -> None:
    run = await parts.create_run(worker="gone")
    assert await parts.workers.take_over(WorkerBeat("gone", None), by="me")
    assert await parts.workers.list_running_ids("me") == [run.run_id]
    found = await parts.workers.list_taken_over([run.run_id, "run_unknown"])
    assert [(each.id, each.attempt) for each in found] == [(run.run_id, 2)]


async def test_a_run_can_be_taken_over_again(parts: Parts) -> None:
    run = await parts.create_run(worker="a")
    assert await parts.workers.take_over(WorkerBeat("a", None), by="b")
    assert await parts.workers.take_over(WorkerBeat("b", None), by="c")
    (found,) = await parts.workers.list_unfinished_runs("c")
    assert (found.id, found.attempt) == (run.run_id, 3)


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
