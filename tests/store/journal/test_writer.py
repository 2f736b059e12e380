"""The contract of the journal's writer, on every store: atomic, once, and only for the own runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.domain import Message, MissingAgent, Usage
from service.store.journal.batch import Batch
from service.store.records import KeyConflict
from tests._support.runs.store_records import (
    ALL_STORE_KINDS,
    ME,
    NOW,
    OTHER_OWNER,
    Parts,
    make_agent_answer,
    make_key,
    make_run,
    make_run_end,
    make_segment,
)

pytestmark = pytest.mark.parametrize("store_kind", ALL_STORE_KINDS)


async def test_initial_messages_come_before_the_runs(parts: Parts) -> None:
    brought = (Message("user", "a"), Message("assistant", "b"))
    run = await parts.create_run(initial_messages=brought)
    assert await parts.runs.list_initial_messages(ME, run.ask.conversation_id) == list(brought)


async def test_an_empty_batch_writes_nothing(parts: Parts) -> None:
    assert (await parts.journal.write(Batch())).conflicts == {}


async def test_a_megabyte_can_be_stored(parts: Parts) -> None:
    run = await parts.finish_run("ä" * 1_000_000)
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert len(stored.answer) == 1_000_000


async def test_the_first_of_a_batch_has_the_key(parts: Parts) -> None:
    first, second = make_run(key=make_key()), make_run(key=make_key())
    taken = (await parts.journal.write(Batch(openings=[first, second]))).conflicts
    assert taken == {second.run_id: KeyConflict(first.run_id, b"body")}


async def test_a_key_belongs_to_its_owner_alone(parts: Parts) -> None:
    await parts.create_run(key=make_key())
    other = make_run(owner=OTHER_OWNER, key=make_key())
    assert (await parts.journal.write(Batch(openings=[other]))).conflicts == {}
    mine = await parts.runs.find_key(ME, "key", NOW)
    theirs = await parts.runs.find_key(OTHER_OWNER, "key", NOW)
    assert mine is not None
    assert theirs is not None
    assert mine.run_id != theirs.run_id == other.run_id


async def test_an_expired_key_can_be_bound_again(parts: Parts) -> None:
    await parts.create_run(key=make_key(expires_at=NOW))
    assert await parts.runs.find_key(ME, "key", NOW) is None
    second = make_run(key=make_key())
    assert (await parts.journal.write(Batch(openings=[second]))).conflicts == {}
    known = await parts.runs.find_key(ME, "key", NOW)
    assert known is not None
    assert known.run_id == second.run_id


async def test_a_key_is_taken_over_from_the_named_run_only(parts: Parts) -> None:
    first = await parts.finish_run(key=make_key())
    second = make_run(key=make_key(replaces=first.run_id))
    assert (await parts.journal.write(Batch(openings=[second]))).conflicts == {}
    third = make_run(key=make_key(replaces=first.run_id))
    taken = (await parts.journal.write(Batch(openings=[third]))).conflicts
    assert taken == {third.run_id: KeyConflict(second.run_id, b"body")}


# --- retries ---


async def test_a_retry_takes_the_place_of_its_run(parts: Parts) -> None:
    first = await parts.finish_run(conversation="c")
    second = await parts.finish_run("Better.", conversation="c", retry_of=first.run_id)
    stored = await parts.runs.get(ME, first.run_id)
    assert stored is not None
    assert stored.superseded_by == second.run_id
    assert [run.id for run in await parts.runs.list_exchanges(ME, "c", 5)] == [second.run_id]


async def test_only_one_retry_is_made(parts: Parts) -> None:
    first = await parts.finish_run()
    retries = [make_run(retry_of=first.run_id), make_run(retry_of=first.run_id)]
    taken = (await parts.journal.write(Batch(openings=retries))).conflicts
    assert taken == {retries[1].run_id: KeyConflict(retries[0].run_id, None)}
    third = make_run(retry_of=first.run_id)
    taken = (await parts.journal.write(Batch(openings=[third]))).conflicts
    assert taken == {third.run_id: KeyConflict(retries[0].run_id, None)}


async def test_a_retry_of_another_owners_run_does_not_change_it(parts: Parts) -> None:
    mine = await parts.finish_run()
    await parts.create_run(owner=OTHER_OWNER, retry_of=mine.run_id)
    stored = await parts.runs.get(ME, mine.run_id)
    assert stored is not None
    assert stored.superseded_by is None


# --- rows of running runs ---


async def test_rows_of_a_deleted_run_are_dropped(parts: Parts) -> None:
    there, gone = await parts.create_run(), make_run()
    both = (there, gone)
    batch = Batch(
        segments=[make_segment(run, 1, 2) for run in both],
        answers=[make_agent_answer(run) for run in both],
        endings=[make_run_end(run) for run in both],
    )
    await parts.journal.write(batch)
    assert len(await parts.runs.list_segments(ME, there.run_id)) == 1
    assert await parts.runs.get(ME, gone.run_id) is None
    assert await parts.runs.list_segments(ME, gone.run_id) == []


async def test_the_first_end_of_a_run_stays(parts: Parts) -> None:
    run = await parts.create_run()
    for state in ("interrupted", "completed"):
        await parts.journal.write(Batch(endings=[make_run_end(run, state=state)]))
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert stored.state == "interrupted"


async def test_rows_after_the_end_of_a_run_are_dropped(parts: Parts) -> None:
    """They come from a worker that another one recovered as stale, but that still works."""
    run = await parts.create_run()
    await parts.journal.write(
        Batch(segments=[make_segment(run, 1, 2)], endings=[make_run_end(run)])
    )
    await parts.journal.write(
        Batch(answers=[make_agent_answer(run)], segments=[make_segment(run, 3, 4)])
    )
    assert [each.last_seq for each in await parts.runs.list_segments(ME, run.run_id)] == [2]
    assert await parts.runs.list_agent_answers(ME, run.run_id) == []


async def test_an_end_stores_all_its_fields(parts: Parts) -> None:
    run = await parts.create_run()
    written = make_run_end(
        run,
        state="failed",
        answer="Half of",
        usage=Usage(1, 2, 3, 4, estimated=True),
        cost_usd=None,
        missing=(MissingAgent("llm-1", "upstream_failed"),),
        degraded_by=("agents", "combiner"),
        answered_by="llm-2",
        code="upstream_timeout",
        error="It took too long.",
    )
    await parts.journal.write(Batch(endings=[written]))
    stored = await parts.runs.get(ME, run.run_id)
    for name in ("state", "answer", "usage", "cost_usd", "answered_by", "code"):
        assert getattr(stored, name) == getattr(written, name)
    for name in ("error", "elapsed_ms", "ended_at", "last_seq", "missing", "degraded_by"):
        assert getattr(stored, name) == getattr(written, name)


async def test_an_end_of_another_owner_ends_nothing(parts: Parts) -> None:
    run = await parts.create_run()
    await parts.journal.write(Batch(endings=[replace(make_run_end(run), owner=OTHER_OWNER)]))
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert stored.state == "running"


async def test_dropping_a_retry_reinstates_its_run(parts: Parts) -> None:
    first = await parts.finish_run()
    retry = await parts.create_run(retry_of=first.run_id, conversation=first.ask.conversation_id)
    await parts.journal.write(Batch(dropped=[retry.run_id]))
    stored = await parts.runs.get(ME, first.run_id)
    assert stored is not None
    assert stored.superseded_by is None
