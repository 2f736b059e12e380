"""The journal: many runs' news together, a question before anything, an end before it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import pairwise

import pytest

from service.errors import StorageUnavailable
from service.events import AgentFinished, AnswerDelta, Event, RunFinished
from service.runs.event_lines import decode_events
from service.runs.recovery import following
from service.runs.run import LiveRun
from service.runs.shelf import events_of
from service.runs.spool import Spooled
from service.store.records import Batch
from tests.core_kit import model, now
from tests.runs.kit import FOREVER, LONG, Service, ended, saying, service

# Text for a while: an event each 100 ms.
TALKING = {"a": {"model": model("a", tokens=50, gap_ms=100), "timeout_s": 80_000}}


async def _kept(of: Service, run: LiveRun) -> list[Event]:
    """Return the events of a run that the store has."""
    return events_of(await of.memory.runs.segments(run.owner, run.id), 0)


def _since(of: Service, moment: float) -> Sequence[float]:
    """Return when something was committed after `moment`, in seconds since then."""
    return [round(at - moment, 3) for at in of.memory.committed_at if at > moment]


# --- when something is committed ---


async def test_a_question_is_committed_before_anything_is_asked() -> None:
    async with service() as it:
        it.memory.writing.delay_s = 1
        starting = asyncio.create_task(it.start(saying("Why?")))
        await asyncio.sleep(0.9)
        assert it.server.asked == []
        await starting
        assert (it.memory.the_run.question, it.memory.the_run.state) == ("Why?", "running")


async def test_a_question_does_not_wait_for_the_next_round() -> None:
    async with service() as it:
        await it.start()
        assert now() == 0


async def test_questions_that_come_at_once_are_committed_together() -> None:
    async with service() as it:
        await asyncio.gather(*(it.start() for _ in range(5)))
        assert [len(batch.openings) for batch in it.memory.batches] == [5]


async def test_all_runs_events_are_committed_together_every_quarter_second() -> None:
    async with service(TALKING, combiner=None, **LONG) as it:
        runs = [await it.start() for _ in range(3)]
        asked = len(it.memory.batches)
        await asyncio.sleep(2)
        batches, moments = it.memory.batches[asked:], it.memory.committed_at[asked:]
        everybody = {run.id for run in runs}
        assert all({each.run_id for each in batch.segments} == everybody for batch in batches)
        # From the first new event on; a model says something every 0.1 s.
        assert all(0.25 <= after - before <= 0.35 for before, after in pairwise(moments))
        assert len(moments) >= 5


async def test_what_is_kept_is_what_happened() -> None:
    async with service() as it:
        run = await it.finish()
        assert await _kept(it, run) == run.log.after(0)


async def test_segments_follow_one_another_without_a_gap() -> None:
    async with service(TALKING, combiner=None, **LONG) as it:
        run = await it.finish()
        segments = await it.memory.runs.segments(run.owner, run.id)
    assert len(segments) > 5
    assert [each.first_seq for each in segments[1:]] == [
        each.last_seq + 1 for each in segments[:-1]
    ]
    for each in segments:
        assert len(decode_events(each.data)) == each.last_seq - each.first_seq + 1


async def test_an_agents_answer_is_committed_soon_after_it_landed() -> None:
    agents = {"a": {"model": model("a")}, "b": {"model": model("b", first_ms=5_000)}}
    async with service(agents) as it:
        run = await it.start()
        with it.runs.reading(run) as reader:
            while not any(isinstance(each, AgentFinished) for each in run.log.after(0)):
                await reader.take()
        landed = now()
        await asyncio.sleep(0.05)
        assert set(await it.answers(run)) == {"a"}
        assert len(_since(it, landed)) == 1


async def test_nothing_is_committed_while_nothing_happens() -> None:
    async with service(FOREVER, **LONG) as it:
        await it.start()
        await asyncio.sleep(5)
        before = len(it.memory.batches)
        await asyncio.sleep(20)
        assert len(it.memory.batches) == before


# --- the end ---


async def test_the_end_is_committed_before_it_is_told() -> None:
    async with service(combiner=None, agents={"a": {"model": model()}}) as it:
        it.memory.writing.delay_s = 1
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        while it.memory.the_run.state == "running":
            assert not run.log.finished
            await asyncio.sleep(0.01)
        assert (await reading)[-1] == (await _kept(it, run))[-1]


async def test_the_end_does_not_wait_for_the_next_round() -> None:
    async with service() as it:
        run = await it.start()
        final = await ended(run)
        assert now() * 1000 == pytest.approx(final.elapsed_ms, abs=1)


async def test_an_end_that_the_database_holds_up_is_told_all_the_same() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.writing.stall()
        final = await ended(run)
        assert isinstance(final, RunFinished)
        assert now() < 3
        it.memory.writing.reopen()
        await it.journal.settle(30)
        assert await _kept(it, run) == run.log.after(0)


async def test_an_end_while_the_database_is_known_to_be_down_is_told_at_once() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        it.memory.writing.shut()
        await asyncio.sleep(5)
        before = now()
        await it.runs.cancel(run)
        assert now() == before


async def test_what_a_run_came_to_is_kept() -> None:
    async with service(prices=[model("a"), model("b"), model("combine")]) as it:
        run = await it.finish()
        stored, final = await it.stored(run), await ended(run)
        text = "".join(e.text for e in run.log.after(0) if isinstance(e, AnswerDelta))
    assert isinstance(final, RunFinished)
    assert (stored.state, stored.answer, stored.answered_by) == ("completed", text, "combine")
    assert (stored.usage, stored.cost_usd) == (final.usage, final.cost)
    assert (stored.elapsed_ms, stored.last_seq) == (final.elapsed_ms, len(run.log))


async def test_how_each_agent_ended_is_kept() -> None:
    agents = {"a": {"model": model("a")}, "b": {"model": model("b", fault="status", status=400)}}
    async with service(agents) as it:
        answers = await it.answers(await it.finish())
    states = {name: (answer.state, answer.code) for name, answer in answers.items()}
    assert states == {
        "a": ("answered", None),
        "b": ("failed", "upstream_refused"),
        "combine": ("answered", None),
    }


async def test_an_agent_that_was_not_finished_is_kept_with_what_it_had() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1)
        await it.runs.cancel(run)
        await it.journal.settle(30)
        answer = (await it.answers(run))["a"]
    assert answer.state == "cancelled"
    assert answer.report.text


# --- trouble ---


async def test_a_question_is_refused_at_once_while_the_database_is_down() -> None:
    async with service() as it:
        it.memory.writing.shut()
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await it.start()
        assert now() < 1
        assert it.server.asked == []


async def test_a_question_is_refused_in_time_when_the_database_hangs() -> None:
    async with service() as it:
        it.memory.writing.stall()
        with pytest.raises(StorageUnavailable):
            await it.start()
        assert now() <= 4


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_refused_question_was_never_there(hangs: bool) -> None:
    async with service() as it:
        if hangs:
            it.memory.writing.delay_s = 4.5  # the answer comes, but too late
        else:
            it.memory.writing.says_so = False  # it is done, but the connection breaks
        with pytest.raises(StorageUnavailable):
            await it.start()
        it.memory.writing.delay_s, it.memory.writing.says_so = 0, True
        await asyncio.sleep(10)
        assert it.memory.tables.runs == {}
        assert it.memory.tables.conversations == {}
        assert it.server.asked == []


async def test_a_question_whose_asker_has_left_is_not_kept() -> None:
    async with service() as it:
        it.memory.writing.delay_s = 1
        starting = asyncio.create_task(it.start())
        await asyncio.sleep(0.5)
        starting.cancel()
        await asyncio.sleep(5)
        assert it.memory.tables.runs == {}


async def test_a_question_whose_asker_leaves_at_the_very_moment_is_not_kept() -> None:
    async with service() as it:
        starting = asyncio.create_task(it.start())
        while not it.memory.tables.runs:
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.sleep(5)
        assert starting.cancelled()
        assert it.memory.tables.runs == {}


async def test_a_run_goes_on_while_the_database_is_down_and_is_kept_afterwards() -> None:
    async with service(TALKING, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1)
        it.memory.writing.shut()
        events = await it.read(run)
        assert isinstance(events[-1], RunFinished)
        assert it.memory.the_run.state == "running"
        it.memory.writing.reopen()
        await it.journal.settle(30)
        assert it.memory.the_run.state == "completed"
        assert await _kept(it, run) == events
        assert set(await it.answers(run)) == {"a", "combine"}


async def test_a_commit_that_came_about_unheard_is_not_there_twice() -> None:
    async with service(TALKING, **LONG) as it:
        run = await it.start()
        it.memory.writing.says_so = False
        await asyncio.sleep(2)
        it.memory.writing.says_so = True
        await it.read(run)
        await it.journal.settle(30)
        assert await _kept(it, run) == run.log.after(0)


async def test_questions_are_taken_again_once_the_database_is_back() -> None:
    async with service() as it:
        it.memory.writing.shut()
        with pytest.raises(StorageUnavailable):
            await it.start()
        it.memory.writing.reopen()
        await asyncio.sleep(1)
        assert isinstance(await ended(await it.finish()), RunFinished)


async def test_what_happens_while_the_database_comes_back_is_kept_soon() -> None:
    late = {"model": model("a", first_ms=4_200, fault="stall", after=2), "idle_timeout_s": 900}
    async with service({"a": late}, **LONG) as it:
        run = await it.start(saying("Why?", stream_agents=True))
        it.memory.writing.shut()
        it.journal.probe()
        await asyncio.sleep(3)
        it.memory.writing.reopen()
        it.memory.writing.delay_s = 2  # during which the model begins to answer, and stalls
        await asyncio.sleep(8)
        assert await _kept(it, run) == run.log.after(0)


async def test_trouble_and_its_end_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "service.runs.journal"):
        async with service(TALKING, **LONG) as it:
            run = await it.start()
            it.memory.writing.shut()
            await asyncio.sleep(3)
            it.memory.writing.reopen()
            await it.read(run)
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "cannot commit",
        "the database is back",
    ]


# --- what can never be committed ---


async def test_a_run_that_cannot_be_kept_does_not_spoil_the_others() -> None:
    async with service(TALKING, **LONG) as it:
        good, bad = await it.start(), await it.start()

        def spoiled(batch: Batch) -> bool:
            return any(each.run_id == bad.id for each in batch.segments)

        it.memory.impossible = spoiled
        await asyncio.gather(it.read(good), it.read(bad))
        assert await it.journal.settle(30)
        assert await _kept(it, good) == good.log.after(0)
        assert await _kept(it, bad) == []


async def test_a_question_that_cannot_be_kept_is_a_bug_and_nobody_elses() -> None:
    async with service() as it:
        it.memory.impossible = lambda batch: any(
            opening.ask.question == "Bad?" for opening in batch.openings
        )
        results = await asyncio.gather(
            it.start(saying("Good?")), it.start(saying("Bad?")), return_exceptions=True
        )
    assert isinstance(results[0], LiveRun)
    assert isinstance(results[1], ValueError)


async def test_trouble_amid_what_cannot_be_kept_loses_nothing() -> None:
    async with service(TALKING, **LONG) as it:
        runs = [await it.start() for _ in range(3)]
        bad = runs[0]

        def spoiled(batch: Batch) -> bool:
            if not any(each.run_id == bad.id for each in batch.segments):
                return False
            it.memory.writing.shut()  # from the next attempt on
            return True

        it.memory.impossible = spoiled
        await asyncio.sleep(1)
        it.memory.impossible = lambda batch: False
        it.memory.writing.reopen()
        await asyncio.gather(*map(it.read, runs))
        assert await it.journal.settle(30)
        for run in runs[1:]:
            assert await _kept(it, run) == run.log.after(0)


# --- the spool ---


async def test_what_a_reader_has_seen_is_in_the_spool() -> None:
    async with service(TALKING, combiner=None, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run) as reader:
            for _ in range(7):
                await reader.take()
                assert await _safe(it, run) >= reader.seq


async def _safe(of: Service, run: LiveRun) -> int:
    """Return how many events of a run a crash would leave."""
    notes = b"".join(path.read_bytes() for path in of.folder.glob("*.[ab]"))
    spooled = [
        Spooled(run.id, int(first), events)
        for run_id, first, events in (line.split(b" ", 2) for line in notes.splitlines())
        if run_id.decode() == run.id
    ]
    return len(following(await _kept(of, run), spooled))


async def test_the_end_is_in_the_spool_before_it_is_told() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        assert b"run.finished" in b"".join(p.read_bytes() for p in it.folder.glob("*.[ab]"))


async def test_the_spool_is_empty_once_everything_is_committed() -> None:
    async with service() as it:
        await it.finish()
        await asyncio.sleep(1)
        assert sum(path.stat().st_size for path in it.folder.iterdir()) == 0


async def test_the_spool_keeps_what_the_database_did_not_take() -> None:
    async with service(TALKING, **LONG) as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        await asyncio.sleep(5)
        assert await _safe(it, run) == len(run.log)


# --- settling ---


async def test_it_settles_when_nothing_is_left() -> None:
    async with service() as it:
        await it.finish()
        assert await it.journal.settle(0.1)


async def test_it_does_not_settle_without_the_database() -> None:
    async with service() as it:
        run = await it.start()
        it.memory.writing.shut()
        await it.read(run)
        assert not await it.journal.settle(5)
