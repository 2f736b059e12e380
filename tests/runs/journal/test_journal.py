"""The journal: when it commits questions, events, answers and ends, and what is in the spool."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from service.events import AgentFinished, AnswerDelta, RunFinished
from service.runs.journal.codec import decode_events
from service.runs.journal.spool import Spooled
from service.runs.recovery.ending import append_spooled
from service.runs.run import LiveRun
from tests._support.llm.scripted import model, now
from tests._support.runs.service import FOREVER, LONG, Service, ended, saying, service

# An event every 100 ms.
TEXT_FOR_5_S = {"a": {"model": model("a", tokens=50, gap_ms=100), "timeout_s": 80_000}}


# --- the time of a commit ---


async def test_a_question_is_committed_before_a_model_is_called() -> None:
    async with service() as it:
        it.memory.writing.delay_s = 1
        starting = asyncio.create_task(it.start(saying("Why?")))
        await asyncio.sleep(0.9)
        assert it.server.asked == []
        await starting
        assert (it.memory.the_run.question, it.memory.the_run.state) == ("Why?", "running")


async def test_a_question_does_not_wait_for_the_next_periodic_commit() -> None:
    async with service() as it:
        await it.start()
        assert now() == 0


async def test_simultaneous_questions_share_a_commit() -> None:
    async with service() as it:
        await asyncio.gather(*(it.start() for _ in range(5)))
        assert [len(batch.openings) for batch in it.memory.batches] == [5]


async def test_events_of_all_runs_are_committed_together_every_250_ms() -> None:
    async with service(TEXT_FOR_5_S, combiner=None, **LONG) as it:
        runs = [await it.start() for _ in range(3)]
        asked = len(it.memory.batches)
        await asyncio.sleep(2)
        batches, moments = it.memory.batches[asked:], it.memory.committed_at[asked:]
        all_runs = {run.id for run in runs}
        assert all({each.run_id for each in batch.segments} == all_runs for batch in batches)
        # Counted from the first new event; a model sends text every 0.1 s.
        assert all(0.25 <= after - before <= 0.35 for before, after in pairwise(moments))
        assert len(moments) >= 5


async def test_questions_that_arrive_often_take_the_events_of_all_runs_along() -> None:
    async with service(TEXT_FOR_5_S, combiner=None, **LONG) as it:
        for _ in range(50):
            await it.start()
            await asyncio.sleep(0.04)
        batches, moments = it.memory.batches[10:], it.memory.committed_at[10:]
        assert all(batch.openings for batch in batches)  # no commit but those of questions
        full = [at for batch, at in zip(batches, moments, strict=True) if len(batch.segments) > 1]
        assert all(0.2 <= after - before <= 0.25 for before, after in pairwise(full))
        assert len(full) >= 5


async def test_the_commit_of_a_question_or_an_end_has_only_rows_of_its_run() -> None:
    async with service(TEXT_FOR_5_S, combiner=None, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1.1)
        other = await it.start()
        asked = it.memory.batches[-1]
        assert (asked.openings[0].run_id, asked.segments) == (other.id, [])
        await asyncio.sleep(0.2)
        await it.runs.cancel(run)
        ended = it.memory.batches[-1]
        assert [each.run_id for each in ended.endings] == [run.id]
        assert {each.run_id for each in ended.segments} == {run.id}
        assert await it.kept_events(run) == run.log.after(0)


async def test_the_stored_events_equal_the_log() -> None:
    async with service() as it:
        run = await it.finish()
        assert await it.kept_events(run) == run.log.after(0)


async def test_segments_follow_one_another_without_a_gap() -> None:
    async with service(TEXT_FOR_5_S, combiner=None, **LONG) as it:
        run = await it.finish()
        segments = await it.memory.runs.list_segments(run.owner, run.id)
    assert len(segments) > 5
    assert [each.first_seq for each in segments[1:]] == [
        each.last_seq + 1 for each in segments[:-1]
    ]
    for each in segments:
        assert len(decode_events(each.data)) == each.last_seq - each.first_seq + 1


async def test_an_agents_answer_is_committed_soon_after_it_is_complete() -> None:
    agents = {"a": {"model": model("a")}, "b": {"model": model("b", first_ms=5_000)}}
    async with service(agents) as it:
        run = await it.start()
        with it.runs.reading(run) as reader:
            while not any(isinstance(each, AgentFinished) for each in run.log.after(0)):
                await reader.take()
        landed = now()
        await asyncio.sleep(0.05)
        assert set(await it.answers(run)) == {"a"}
        assert len([at for at in it.memory.committed_at if at > landed]) == 1


async def test_nothing_is_committed_without_new_events() -> None:
    async with service(FOREVER, **LONG) as it:
        await it.start()
        await asyncio.sleep(5)
        before = len(it.memory.batches)
        await asyncio.sleep(20)
        assert len(it.memory.batches) == before


# --- the end ---


async def test_the_end_is_committed_before_a_reader_receives_it() -> None:
    async with service(combiner=None, agents={"a": {"model": model()}}) as it:
        it.memory.writing.delay_s = 1
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        while it.memory.the_run.state == "running":
            assert not run.log.finished
            await asyncio.sleep(0.01)
        assert (await reading)[-1] == (await it.kept_events(run))[-1]


async def test_the_end_does_not_wait_for_the_next_periodic_commit() -> None:
    async with service() as it:
        run = await it.start()
        final = await ended(run)
        assert now() * 1000 == pytest.approx(final.elapsed_ms, abs=1)


async def test_a_reader_receives_the_end_although_the_database_hangs() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.writing.stall()
        final = await ended(run)
        assert isinstance(final, RunFinished)
        assert now() < 3
        it.memory.writing.reopen()
        await it.journal.settle(30)
        assert await it.kept_events(run) == run.log.after(0)


async def test_a_reader_receives_the_end_at_once_while_the_database_is_known_to_be_down() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        it.memory.writing.shut()
        await asyncio.sleep(5)
        before = now()
        await it.runs.cancel(run)
        assert now() == before


async def test_the_outcome_of_a_run_is_stored() -> None:
    async with service(prices=[model("a"), model("b"), model("combine")]) as it:
        run = await it.finish()
        stored, final = await it.stored(run), await ended(run)
        text = "".join(e.text for e in run.log.after(0) if isinstance(e, AnswerDelta))
    assert isinstance(final, RunFinished)
    assert (stored.state, stored.answer, stored.answered_by) == ("completed", text, "combine")
    assert (stored.usage, stored.cost_usd) == (final.usage, final.cost)
    assert (stored.elapsed_ms, stored.last_seq) == (final.elapsed_ms, len(run.log))


async def test_the_outcome_of_each_agent_is_stored() -> None:
    agents = {"a": {"model": model("a")}, "b": {"model": model("b", fault="status", status=400)}}
    async with service(agents) as it:
        answers = await it.answers(await it.finish())
    states = {name: (answer.state, answer.code) for name, answer in answers.items()}
    assert states == {
        "a": ("answered", None),
        "b": ("failed", "upstream_invalid_request"),
        "combine": ("answered", None),
    }


async def test_an_unfinished_agent_is_stored_with_its_partial_answer() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1)
        await it.runs.cancel(run)
        await it.journal.settle(30)
        answer = (await it.answers(run))["a"]
    assert answer.state == "cancelled"
    assert answer.report.text


# --- the spool ---


async def test_events_that_a_reader_received_are_in_the_spool() -> None:
    async with service(TEXT_FOR_5_S, combiner=None, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run) as reader:
            for _ in range(7):
                await reader.take()
                assert await _count_durable_events(it, run) >= reader.seq


async def _count_durable_events(of: Service, run: LiveRun) -> int:
    """Return the number of events of a run that would survive a crash."""
    notes = b"".join(path.read_bytes() for path in of.folder.glob("*.[ab]"))
    spooled = [
        Spooled(run.id, int(first), events)
        for run_id, first, events in (line.split(b" ", 2) for line in notes.splitlines())
        if run_id.decode() == run.id
    ]
    return len(append_spooled(await of.kept_events(run), spooled))


async def test_the_end_is_in_the_spool_before_a_reader_receives_it() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        assert b"run.finished" in b"".join(p.read_bytes() for p in it.folder.glob("*.[ab]"))


async def test_the_spool_is_empty_once_everything_is_committed() -> None:
    async with service() as it:
        await it.finish()
        await asyncio.sleep(1)
        assert sum(path.stat().st_size for path in it.folder.glob("*.[ab]")) == 0


async def test_events_stay_in_the_spool_until_the_database_accepts_them() -> None:
    async with service(TEXT_FOR_5_S, **LONG) as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        await asyncio.sleep(5)
        assert await _count_durable_events(it, run) == len(run.log)


# --- settling ---


async def test_the_journal_settles_when_everything_is_committed() -> None:
    async with service() as it:
        await it.finish()
        assert await it.journal.settle(0.1)


async def test_the_journal_does_not_settle_without_the_database() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        assert not await it.journal.settle(5)
