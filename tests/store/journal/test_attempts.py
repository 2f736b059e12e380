"""Attempts of a run: writes of a worker that lost it are refused; its late events fill the gap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.domain import ToolCall
from service.store.journal.batch import Batch, LateEvents
from service.store.records import NewRun, StoredRun
from service.store.workers import WorkerBeat
from tests._support.runs.store_records import (
    ALL_STORE_KINDS,
    ME,
    NOW,
    Parts,
    make_agent_answer,
    make_run_end,
    make_segment,
)

pytestmark = pytest.mark.parametrize("store_kind", ALL_STORE_KINDS)


async def _take_over(parts: Parts) -> NewRun:
    """Return a run with two events, of worker `a`, that worker `b` has taken over."""
    run = await parts.create_run(worker="a")
    await parts.journal.write(Batch(segments=[make_segment(run, 1, 2)]))
    assert await parts.workers.take_over(WorkerBeat("a", None), by="b")
    return run


async def _end_after_gap(parts: Parts) -> NewRun:
    """Return such a run that worker `b` has ended with event 1,000 after event 2."""
    run = await _take_over(parts)
    final = replace(make_segment(run, 1_000, 1_000), attempt=2)
    end = make_run_end(run, last_seq=1_000, interrupted_at=2, attempt=2, answer="Hel")
    assert not (await parts.journal.write(Batch(segments=[final], endings=[end]))).fenced
    return run


def _late(run: NewRun, first: int, last: int, answer: str = "Hello") -> LateEvents:
    calls = (ToolCall(0, "call_1", "f", "{}"),)
    return LateEvents(make_segment(run, first, last), answer, calls, [make_agent_answer(run)])


async def _load(parts: Parts, run: NewRun) -> tuple[StoredRun, list[tuple[int, int]]]:
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    segments = await parts.runs.list_segments(ME, run.run_id)
    return stored, [(each.first_seq, each.last_seq) for each in segments]


async def test_rows_of_an_earlier_attempt_are_refused_and_reported(parts: Parts) -> None:
    run = await _take_over(parts)
    batch = Batch(
        segments=[make_segment(run, 3, 4)],
        answers=[make_agent_answer(run)],
        endings=[make_run_end(run)],
    )
    assert (await parts.journal.write(batch)).fenced == {run.run_id}
    stored, segments = await _load(parts, run)
    assert (stored.state, stored.attempt, segments) == ("running", 2, [(1, 2)])
    assert await parts.runs.list_agent_answers(ME, run.run_id) == []


async def test_rows_of_other_runs_in_the_batch_are_written(parts: Parts) -> None:
    lost, own = await _take_over(parts), await parts.create_run(worker="c")
    batch = Batch(segments=[make_segment(lost, 3, 4), make_segment(own, 1, 4)])
    assert (await parts.journal.write(batch)).fenced == {lost.run_id}
    assert (await _load(parts, own))[1] == [(1, 4)]


async def test_an_end_that_is_written_twice_does_not_fence_its_run(parts: Parts) -> None:
    run = await parts.create_run()
    batch = Batch(segments=[make_segment(run, 1, 9)], endings=[make_run_end(run)])
    await parts.journal.write(batch)
    assert (await parts.journal.write(batch)).fenced == frozenset()


async def test_the_end_of_the_current_attempt_is_written_with_its_gap(parts: Parts) -> None:
    stored, segments = await _load(parts, await _end_after_gap(parts))
    assert (stored.last_seq, stored.interrupted_at, stored.answer) == (1_000, 2, "Hel")
    assert segments == [(1, 2), (1_000, 1_000)]


async def test_late_events_are_added_directly_behind_the_known_ones(parts: Parts) -> None:
    run = await _end_after_gap(parts)
    assert await parts.journal.add_late(_late(run, 3, 5))
    stored, segments = await _load(parts, run)
    assert segments == [(1, 2), (3, 5), (1_000, 1_000)]
    assert (stored.interrupted_at, stored.last_seq) == (5, 1_000)
    assert (stored.answer, stored.tool_calls[0].name) == ("Hello", "f")
    assert [each.agent for each in await parts.runs.list_agent_answers(ME, run.run_id)] == ["llm-1"]


async def test_late_events_are_added_once(parts: Parts) -> None:
    run = await _end_after_gap(parts)
    assert await parts.journal.add_late(_late(run, 3, 5))
    assert not await parts.journal.add_late(_late(run, 3, 5))
    assert not await parts.journal.add_late(_late(run, 4, 6))
    assert (await _load(parts, run))[0].interrupted_at == 5


@pytest.mark.parametrize("first", [2, 4])
async def test_late_events_that_do_not_follow_the_known_ones_are_refused(
    parts: Parts, first: int
) -> None:
    run = await _end_after_gap(parts)
    assert not await parts.journal.add_late(_late(run, first, 6))


async def test_events_of_the_attempt_that_ended_the_run_are_not_late(parts: Parts) -> None:
    run = await _end_after_gap(parts)
    late = _late(run, 3, 5)
    current = replace(late, segment=replace(late.segment, attempt=2))
    assert not await parts.journal.add_late(current)


async def test_a_running_run_has_no_place_for_late_events(parts: Parts) -> None:
    assert not await parts.journal.add_late(_late(await _take_over(parts), 3, 5))


async def test_late_events_of_another_owner_are_refused(parts: Parts) -> None:
    late = _late(await _end_after_gap(parts), 3, 5)
    stolen = replace(late, segment=replace(late.segment, owner="somebody"))
    assert not await parts.journal.add_late(stolen)


async def test_expired_events_get_no_late_ones(parts: Parts) -> None:
    run = await _take_over(parts)
    end = make_run_end(run, last_seq=1_000, interrupted_at=2, attempt=2, events_expire_at=NOW)
    await parts.journal.write(Batch(endings=[end]))
    await parts.workers.delete_expired(NOW)
    assert not await parts.journal.add_late(_late(run, 3, 5))
