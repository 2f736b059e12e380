"""Runs that have ended: read from the store, with their events until these expire."""

from __future__ import annotations

import asyncio

import pytest

from service.access.principal import Principal
from service.conversation import NewConversation
from service.runs.journal.codec import encode_events
from service.runs.run import Run
from service.runs.transport.database import StoredRuns, join_segments
from service.store.records import Segment, StoredRun
from tests._support.llm.scripted import an_ask
from tests._support.runs.event_samples import SAMPLES
from tests._support.runs.service import FOREVER, LONG, ME, service


async def test_a_finished_run_can_be_read_again() -> None:
    async with service() as it:
        run = await it.finish()
        again = await it.runs.find(run.id, ME)
        assert again is not run
        assert await it.read(again) == run.log.after(0)


async def test_a_finished_run_can_be_read_from_any_event() -> None:
    async with service() as it:
        run = await it.finish()
        again = await it.runs.find(run.id, ME)
        for after in range(len(run.log) + 1):
            assert await it.read(again, after) == run.log.after(after)


async def test_a_stored_run_has_all_fields_of_the_live_run() -> None:
    async with service() as it:
        run = await it.finish(an_ask(history=NewConversation("conv_2"), message_id="message_2"))
        again = await it.runs.find(run.id, ME)
    for name in ("message_id", "conversation_id", "ensemble_name", "config_hash", "created_at"):
        assert getattr(again, name) == getattr(run, name)
    assert again.is_complete
    assert not again.was_interrupted


async def test_another_worker_can_read_a_finished_run() -> None:
    async with service() as one, service(beside=one) as other:
        run = await one.finish()
        assert await other.read(await other.runs.find(run.id, ME)) == run.log.after(0)


async def test_the_events_of_a_run_expire_after_its_retention() -> None:
    async with service(limits={"retention_s": 60}) as it:
        run = await it.finish()
        await it.expire(after_s=55)
        assert isinstance(await it.runs.get(run.id, ME), Run)
        await it.expire(after_s=65)
        error = await it.refusal(run.id)
    assert error.code == "run_expired"


async def test_a_run_that_expires_during_its_look_up_has_no_events() -> None:
    async with service() as it:
        stored = await it.stored(await it.finish())
        await it.expire(after_s=10_000)
        assert await StoredRuns(it.memory.runs).load(stored) is stored


async def test_the_answer_stays_after_the_events_have_expired() -> None:
    async with service() as it:
        run = await it.finish()
        before = await it.stored(run)
        await it.expire(after_s=10_000)
        left = await it.runs.get(run.id, ME)
        assert isinstance(left, StoredRun)
        assert (left.state, left.answer, left.usage) == ("completed", before.answer, before.usage)
        assert set(await it.answers(run)) == {"a", "b", "combine"}


async def test_an_open_run_never_expires() -> None:
    async with service(FOREVER, limits={"retention_s": 1}, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run):
            await asyncio.sleep(3600)
            await it.expire(after_s=10_000)
            assert await it.runs.find(run.id, ME) is run
            assert len(await it.memory.runs.list_segments(ME, run.id)) > 0


async def test_an_unknown_run_is_not_found() -> None:
    async with service() as it:
        error = await it.refusal("run_" + "0" * 32)
    assert error.code == "run_not_found"


async def test_another_owners_run_is_not_found_whether_open_or_ended() -> None:
    async with service() as it:
        run = await it.start(an_ask(principal=Principal(owner="me")))
        assert (await it.refusal(run.id, "you")).code == "run_not_found"
        await it.read(run)
        await it.journal.settle(30)
        assert (await it.refusal(run.id, "you")).code == "run_not_found"


async def test_another_owners_expired_run_is_not_found() -> None:
    async with service() as it:
        run = await it.finish(an_ask(principal=Principal(owner="me")))
        await it.expire(after_s=10_000)
        assert (await it.refusal(run.id, "me")).code == "run_expired"
        assert (await it.refusal(run.id, "you")).code == "run_not_found"


async def test_an_ended_run_is_removed_from_memory() -> None:
    async with service() as it:
        await it.finish()
        assert it.runs.open_count == 0


async def test_an_ended_run_stays_in_memory_until_its_end_is_committed() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        assert it.runs.open_count == 1
        assert await it.runs.find(run.id, ME) is run
        it.memory.writing.reopen()
        await it.journal.settle(30)
        assert it.runs.open_count == 0


async def test_a_local_run_can_be_read_while_the_database_is_down() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.reading.shut()
        it.memory.writing.shut()
        again = await it.runs.find(run.id, ME)
        assert (await it.read(again))[-1].final
        it.memory.reading.reopen()


async def test_several_runs_are_cancelled_on_any_worker() -> None:
    async with service(FOREVER, **LONG) as it:
        runs = [await it.start() for _ in range(2)]
        ended = await it.start()
        await it.runs.cancel(ended)
        await it.journal.settle(0)
        await it.runs.cancel_all(ME, [run.id for run in (*runs, ended)])
        await it.journal.settle(30)
        states = {run.state for run in it.memory.tables.runs.values()}
    assert states == {"cancelled"}


# --- events from their segments ---


def _make_segment(first: int, last: int) -> Segment:
    data = encode_events(SAMPLES[first - 1 : last])
    return Segment(run_id="run_1", owner=ME, first_seq=first, last_seq=last, data=data)


@pytest.mark.parametrize("after", range(10))
def test_events_after_a_number_may_start_within_a_segment(after: int) -> None:
    both = _make_segment(1, 4), _make_segment(5, 9)
    segments = [each for each in both if each.last_seq > after]
    assert join_segments(segments, after) == SAMPLES[after:9]


def test_a_segment_may_repeat_events_of_the_one_before() -> None:
    assert join_segments([_make_segment(1, 4), _make_segment(3, 9)], 0) == SAMPLES[:9]


def test_events_end_before_a_missing_segment() -> None:
    assert join_segments([_make_segment(1, 4), _make_segment(6, 9)], 0) == SAMPLES[:4]
