"""The journal without its database: callers do not wait long, nothing is lost, and it recovers."""

from __future__ import annotations

import asyncio
import logging

import pytest

from service.errors import StorageUnavailable
from service.events import RunFinished
from service.runs.run import LiveRun
from service.store.journal.batch import Batch
from tests._support.llm.scripted import SkippingLoop, model, now
from tests._support.runs.service import LONG, ended, saying, service

# An event every 100 ms.
TEXT_FOR_5_S = {"a": {"model": model("a", tokens=50, gap_ms=100), "timeout_s": 80_000}}


async def test_a_question_is_refused_at_once_while_the_database_is_down() -> None:
    async with service() as it:
        it.memory.writing.shut()
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await it.start()
        assert now() == 0
        assert it.server.asked == []


async def test_refused_questions_are_not_retained_by_the_error_of_the_outage() -> None:
    async with service() as it:
        it.memory.writing.shut()
        depths = []
        for _ in range(10):
            with pytest.raises(StorageUnavailable) as refused:
                await it.start()
            depths.append(len(refused.traceback))
        assert depths[1:] == [depths[1]] * 9


async def test_a_question_is_refused_in_time_when_the_database_hangs() -> None:
    async with service() as it:
        it.memory.writing.stall()
        with pytest.raises(StorageUnavailable):
            await it.start()
        assert now() <= 4


async def test_a_question_is_not_refused_because_the_event_loop_was_busy() -> None:
    async with service() as it:
        it.memory.writing.delay_s = 1
        starting = asyncio.create_task(it.start())
        await asyncio.sleep(0.5)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        loop.skip(10)  # as if it were blocked
        assert isinstance(await ended(await starting), RunFinished)


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_refused_question_leaves_no_row(hangs: bool) -> None:
    async with service() as it:
        if hangs:
            it.memory.writing.delay_s = 4.5  # the reply arrives too late
        else:
            it.memory.writing.confirms = False  # the commit succeeds, but its reply is lost
        with pytest.raises(StorageUnavailable):
            await it.start()
        it.memory.writing.delay_s, it.memory.writing.confirms = 0, True
        await asyncio.sleep(10)
        assert it.memory.tables.runs == {}
        assert it.memory.tables.conversations == {}
        assert it.server.asked == []


async def test_a_question_is_removed_when_its_caller_leaves_during_the_commit() -> None:
    async with service() as it:
        it.memory.writing.delay_s = 1
        starting = asyncio.create_task(it.start())
        await asyncio.sleep(0.5)
        starting.cancel()
        await asyncio.sleep(5)
        assert it.memory.tables.runs == {}


async def test_a_question_is_removed_when_its_caller_leaves_just_after_the_commit() -> None:
    async with service() as it:
        starting = asyncio.create_task(it.start())
        while not it.memory.tables.runs:
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.sleep(5)
        assert starting.cancelled()
        assert it.memory.tables.runs == {}


async def test_a_run_continues_while_the_database_is_down_and_is_stored_afterwards() -> None:
    async with service(TEXT_FOR_5_S, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1)
        it.memory.writing.shut()
        events = await it.read(run)
        assert isinstance(events[-1], RunFinished)
        assert it.memory.the_run.state == "running"
        it.memory.writing.reopen()
        await it.journal.settle(30)
        assert it.memory.the_run.state == "completed"
        assert await it.kept_events(run) == events
        assert set(await it.answers(run)) == {"a", "combine"}


async def test_a_commit_whose_reply_was_lost_is_not_applied_twice() -> None:
    async with service(TEXT_FOR_5_S, **LONG) as it:
        run = await it.start()
        it.memory.writing.confirms = False
        await asyncio.sleep(2)
        it.memory.writing.confirms = True
        await it.read(run)
        await it.journal.settle(30)
        assert await it.kept_events(run) == run.log.after(0)


async def test_questions_are_accepted_again_when_the_database_is_back() -> None:
    async with service() as it:
        it.memory.writing.shut()
        with pytest.raises(StorageUnavailable):
            await it.start()
        it.memory.writing.reopen()
        await asyncio.sleep(1)
        assert isinstance(await ended(await it.finish()), RunFinished)


async def test_events_during_the_first_successful_commit_are_committed_soon() -> None:
    late = {"model": model("a", first_ms=4_200, fault="stall", after=2), "idle_timeout_s": 900}
    async with service({"a": late}, **LONG) as it:
        run = await it.start(saying("Why?", stream_agents=True))
        it.memory.writing.shut()
        it.journal.probe()
        await asyncio.sleep(3)
        it.memory.writing.reopen()
        it.memory.writing.delay_s = 2  # in this time the model starts to answer, and stalls
        await asyncio.sleep(8)
        assert await it.kept_events(run) == run.log.after(0)


async def test_an_outage_and_its_end_are_each_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "service.runs.journal.journal"):
        async with service(TEXT_FOR_5_S, **LONG) as it:
            run = await it.start()
            it.memory.writing.shut()
            await asyncio.sleep(3)
            it.memory.writing.reopen()
            await it.read(run)
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "cannot commit",
        "the database works again",
    ]


# --- batches that can never be committed ---


async def test_a_run_that_cannot_be_stored_does_not_affect_others() -> None:
    async with service(TEXT_FOR_5_S, **LONG) as it:
        good, bad = await it.start(), await it.start()

        def has_rows_of_bad(batch: Batch) -> bool:
            return any(each.run_id == bad.id for each in batch.segments)

        it.memory.impossible = has_rows_of_bad
        await asyncio.gather(it.read(good), it.read(bad))
        assert await it.journal.settle(30)
        assert await it.kept_events(good) == good.log.after(0)
        assert await it.kept_events(bad) == []


async def test_a_question_that_cannot_be_stored_fails_alone() -> None:
    async with service() as it:
        it.memory.impossible = lambda batch: any(
            opening.ask.question == "Bad?" for opening in batch.openings
        )
        results = await asyncio.gather(
            it.start(saying("Good?")), it.start(saying("Bad?")), return_exceptions=True
        )
    assert isinstance(results[0], LiveRun)
    assert isinstance(results[1], ValueError)


async def test_an_outage_while_a_run_cannot_be_stored_loses_no_other_run() -> None:
    async with service(TEXT_FOR_5_S, **LONG) as it:
        runs = [await it.start() for _ in range(3)]
        bad = runs[0]

        def has_rows_of_bad(batch: Batch) -> bool:
            if not any(each.run_id == bad.id for each in batch.segments):
                return False
            it.memory.writing.shut()  # from the next attempt on
            return True

        it.memory.impossible = has_rows_of_bad
        await asyncio.sleep(1)
        it.memory.impossible = lambda batch: False
        it.memory.writing.reopen()
        await asyncio.gather(*map(it.read, runs))
        assert await it.journal.settle(30)
        for run in runs[1:]:
            assert await it.kept_events(run) == run.log.after(0)
