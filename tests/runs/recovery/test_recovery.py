"""Runs whose process has ended: found, given an end, and nothing of theirs lost or doubled."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.domain import Usage
from service.errors import StorageUnavailable
from service.events import (
    AgentFinished,
    AgentStarted,
    AnswerDelta,
    CombineStarted,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.runs.journal.codec import encode_events
from service.runs.journal.spool import Spool, Spooled
from service.runs.run import Run
from service.store.journal.batch import Batch
from service.store.records import NewRun, Segment, StoredRun
from telemetry import Telemetry, TelemetryConfig
from tests._support.runs.event_samples import REPORT
from tests._support.runs.service import FOREVER, LONG, ME, Service, service
from tests._support.runs.store_records import make_run

DEAD = "worker_dead"
PAID = replace(REPORT, usage=Usage(1, 2), cost=0.5)
EVENTS: list[Event] = [
    RunStarted("run_1", "0" * 32, "fanout", ("a",)),
    AgentStarted("a", "m"),
    AgentFinished("a", PAID),
    CombineStarted("c", ("a",)),
    AnswerDelta("c", "Hel"),
    AnswerDelta("c", "lo"),
    RunFinished("c", Usage(3, 4), 1.5, 9.0, "c", combiner=replace(PAID, agent="c")),
]


async def _left(of: Service, committed: int, worker: str = DEAD) -> NewRun:
    """Have a run in the store whose first `committed` events are there, and no end."""
    opened = make_run("Why?", owner=ME, worker=worker)
    data = encode_events(EVENTS[:committed])
    segment = Segment(run_id=opened.run_id, owner=ME, first_seq=1, last_seq=committed, data=data)
    await of.memory.journal.write(Batch([opened], segments=[segment] if committed else []))
    return opened


def _spooled(run: NewRun, first: int, last: int) -> Spooled:
    """Return events `first` to `last` of a run as they are noted."""
    return Spooled(run.run_id, first, encode_events(EVENTS[first - 1 : last]))


def _spool(folder: Path, *entries: Spooled, worker: str = DEAD) -> Spool:
    spool = Spool(folder, worker)
    spool.open()
    spool.write(entries)
    return spool


def _crashed(folder: Path, *entries: Spooled, worker: str = DEAD) -> None:
    """Leave what a process had noted that was killed."""
    _spool(folder, *entries, worker=worker).abandon()


async def _found(of: Service, run: NewRun) -> tuple[StoredRun, Sequence[Event]]:
    """Return what has become of a run, and its events."""
    found = await of.runs.find(run.run_id, ME)
    assert isinstance(found, Run)
    return await of.stored(found), found.log.after(0)


# --- runs of this machine ---


async def test_an_unfinished_run_is_interrupted_and_says_so() -> None:
    async with service() as it:
        run = await _left(it, committed=5)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored, events = await _found(it, run)
    final = events[-1]
    assert isinstance(final, RunFailed)
    assert (final.code, final.partial, final.elapsed_ms) == ("interrupted", True, None)
    assert "its events until then are stored" in final.message
    assert (stored.state, stored.code, stored.answer) == ("interrupted", "interrupted", "Hel")


async def test_it_keeps_exactly_what_it_had() -> None:
    async with service() as it:
        run = await _left(it, committed=5)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored, events = await _found(it, run)
    assert events[:-1] == EVENTS[:5]
    assert stored.last_seq == 6
    assert (stored.usage, stored.cost_usd) == (PAID.usage, PAID.cost)


async def test_what_its_readers_had_seen_is_taken_over_from_the_spool() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 4), _spooled(run, 5, 6))
        await it.recovery.recover_stale_workers()
        stored, events = await _found(it, run)
    assert events[:-1] == EVENTS[:6]
    assert stored.answer == "Hello"


async def test_a_run_whose_end_was_told_is_completed() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 7))
        await it.recovery.recover_stale_workers()
        stored, events = await _found(it, run)
    assert events == EVENTS
    assert (stored.state, stored.answer, stored.answered_by) == ("completed", "Hello", "c")
    assert (stored.cost_usd, stored.elapsed_ms, stored.last_seq) == (1.5, 9.0, 7)


async def test_answers_that_had_landed_in_the_spool_are_kept() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 7))
        await it.recovery.recover_stale_workers()
        answers = await it.memory.runs.list_agent_answers(ME, run.run_id)
    assert {answer.agent: (answer.state, answer.report.text) for answer in answers} == {
        "a": ("answered", "said"),
        "c": ("answered", "said"),
    }


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
async def test_what_is_both_in_the_store_and_in_the_spool_is_there_once(first: int) -> None:
    async with service() as it:
        run = await _left(it, committed=4)
        _crashed(it.folder, _spooled(run, first, 4), _spooled(run, 5, 7))
        await it.recovery.recover_stale_workers()
        assert (await _found(it, run))[1] == EVENTS


@pytest.mark.parametrize("last", [4, 5, 6, 7])
async def test_a_line_may_begin_in_what_is_committed(last: int) -> None:
    async with service() as it:
        run = await _left(it, committed=4)
        _crashed(it.folder, _spooled(run, 3, last))
        await it.recovery.recover_stale_workers()
        assert (await _found(it, run))[1][:last] == EVENTS[:last]


async def test_what_does_not_follow_without_a_gap_is_left_out() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 3), _spooled(run, 5, 7))
        await it.recovery.recover_stale_workers()
        stored, events = await _found(it, run)
    assert events[:-1] == EVENTS[:3]
    assert stored.state == "interrupted"


async def test_a_line_that_cannot_be_read_ends_what_is_known() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        bad = Spooled(run.run_id, 4, b'[{"type":"unheard of"}]')
        _crashed(it.folder, _spooled(run, 3, 3), bad, _spooled(run, 4, 7))
        await it.recovery.recover_stale_workers()
        events = (await _found(it, run))[1]
    assert events[:3] == EVENTS[:3]
    assert events[-1].final


async def test_a_run_of_which_nothing_is_known_but_its_question_is_interrupted() -> None:
    async with service() as it:
        run = await _left(it, committed=0)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored, events = await _found(it, run)
    assert [event.type for event in events] == ["run.failed"]
    assert (stored.state, stored.question, stored.answer) == ("interrupted", "Why?", "")


async def test_each_run_gets_what_is_its_own() -> None:
    async with service() as it:
        first, second = await _left(it, committed=2), await _left(it, committed=3)
        _crashed(it.folder, _spooled(second, 4, 7), _spooled(first, 3, 5))
        await it.recovery.recover_stale_workers()
        assert (await _found(it, first))[1][:-1] == EVENTS[:5]
        assert (await _found(it, second))[1] == EVENTS


async def test_events_of_a_run_that_is_not_there_do_no_harm() -> None:
    async with service() as it:
        _crashed(it.folder, Spooled("run_0", 1, encode_events(EVENTS)))
        await it.recovery.recover_stale_workers()
        assert it.memory.tables.runs == {}


async def test_events_are_kept_for_as_long_as_those_of_others_from_then_on() -> None:
    async with service(limits={"retention_s": 60}) as it:
        run = await _left(it, committed=2)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored = await it.memory.runs.get(ME, run.run_id)
        assert stored is not None
        assert stored.ended_at is not None
        expires = it.memory.tables.expire_at[run.run_id]
    assert expires - stored.ended_at == timedelta(seconds=60)


async def test_the_files_of_the_dead_are_removed() -> None:
    async with service() as it:
        _crashed(it.folder, _spooled(await _left(it, committed=2), 3, 7))
        await it.recovery.recover_stale_workers()
        assert {path.stem for path in it.folder.iterdir()} == {it.worker_id}


async def test_an_interrupted_run_can_be_asked_again() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        again = await it.runs.retry(run.run_id, ME)
        assert isinstance((await it.read(again))[-1], RunFinished)


# --- those that live ---


async def test_a_run_of_a_process_that_lives_is_left_alone() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        living = _spool(it.folder, _spooled(run, 3, 7))
        await it.recovery.recover_stale_workers()
        assert it.memory.the_run.state == "running"
        living.close()


async def test_a_process_does_not_end_its_own_runs() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run):
            for _ in range(10):
                await it.heartbeat.send()
                await it.recovery.recover_stale_workers()
                await asyncio.sleep(10)
            assert it.memory.the_run.state == "running"


async def test_of_two_that_look_at_once_one_ends_the_run() -> None:
    async with service() as one, service(beside=one) as other:
        run = await _left(one, committed=2)
        _crashed(one.folder, _spooled(run, 3, 7))
        one.memory.reading.delay_s = one.memory.writing.delay_s = 0.1
        await asyncio.gather(
            one.recovery.recover_stale_workers(), other.recovery.recover_stale_workers()
        )
        assert len(one.memory.batches) == 2
        assert (await _found(one, run))[1] == EVENTS


async def test_without_the_database_the_files_wait() -> None:
    async with service() as it:
        run = await _left(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 7))
        it.memory.writing.shut()
        with pytest.raises(StorageUnavailable):
            await it.recovery.recover_stale_workers()
        it.memory.writing.reopen()
        await it.recovery.recover_stale_workers()
        assert (await _found(it, run))[1] == EVENTS


@pytest.mark.parametrize("says_so", [True, False])
async def test_what_was_taken_over_half_way_is_taken_over_whole(says_so: bool) -> None:
    async with service() as it:
        runs = [await _left(it, committed=2) for _ in range(2)]
        _crashed(it.folder, *(_spooled(run, 3, 7) for run in runs))
        it.memory.writing.says_so = says_so
        if says_so:
            it.memory.impossible = lambda batch: any(
                e.run_id == runs[1].run_id for e in batch.endings
            )
        with pytest.raises((StorageUnavailable, ValueError)):
            await it.recovery.recover_stale_workers()
        it.memory.writing.says_so, it.memory.impossible = True, lambda batch: False
        await it.recovery.recover_stale_workers()
        for run in runs:
            assert (await _found(it, run))[1] == EVENTS


# --- processes of other machines ---


async def _beating(it: Service, rounds: int) -> None:
    """Beat and look every five seconds, as a process does."""
    for _ in range(rounds):
        await asyncio.sleep(5)
        await it.heartbeat.send()
        await it.recovery.recover_stale_workers()


async def test_a_process_that_nobody_has_heard_of_for_long_is_lost() -> None:
    async with service() as it:
        run = await _left(it, committed=5, worker="worker_far")
        await it.memory.workers.register("worker_far", run.created_at)
        await _beating(it, 6)
        stored, events = await _found(it, run)
    assert events[:-1] == EVENTS[:5]
    assert stored.state == "interrupted"


async def test_a_process_that_was_heard_of_is_not_lost() -> None:
    async with service() as it:
        await _left(it, committed=5, worker="worker_far")
        for _ in range(20):
            await it.memory.workers.register("worker_far", datetime.now(UTC))
            await _beating(it, 1)
        assert it.memory.the_run.state == "running"


async def test_nobody_is_lost_before_everybody_could_be_heard_of() -> None:
    async with service() as it:
        run = await _left(it, committed=5, worker="worker_far")
        await it.memory.workers.register("worker_far", run.created_at)
        await _beating(it, 4)
        assert it.memory.the_run.state == "running"


async def test_nobody_is_lost_just_after_the_database_was_away() -> None:
    async with service() as it:
        run = await _left(it, committed=5, worker="worker_far")
        await _beating(it, 1)
        await it.memory.workers.register("worker_far", run.created_at)
        it.memory.writing.shut()
        for _ in range(10):  # it could not have said that it lives
            await asyncio.sleep(5)
            with pytest.raises(StorageUnavailable):
                await it.heartbeat.send()
        it.memory.writing.reopen()
        await _beating(it, 4)
        assert it.memory.the_run.state == "running"


async def test_of_two_that_miss_a_process_at_once_nothing_is_there_twice() -> None:
    async with service() as one, service(beside=one) as other:
        run = await _left(one, committed=5, worker="worker_far")
        await one.memory.workers.register("worker_far", run.created_at)
        one.memory.reading.delay_s = one.memory.writing.delay_s = 0.1
        await asyncio.gather(_beating(one, 6), _beating(other, 6))
        events = (await _found(one, run))[1]
    assert events[:-1] == EVENTS[:5]
    assert [event.type for event in events].count("run.failed") == 1


# --- what is said of it ---


async def test_runs_that_were_found_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry(TelemetryConfig())
    with caplog.at_level(logging.WARNING):
        async with service(telemetry=telemetry) as it:
            first, second = await _left(it, committed=5), await _left(it, committed=2)
            _crashed(it.folder, _spooled(second, 3, 7))
            await it.recovery.recover_stale_workers()
    page = telemetry.render_metrics("")[0].decode()
    counts = re.findall(r'^\w*recover\w*_total\{outcome="(\w+)"\} (\S+)$', page, re.MULTILINE)
    assert dict(counts) == {"interrupted": "1.0", "completed": "1.0"}
    told = {record.run_id for record in caplog.records if hasattr(record, "run_id")}
    assert told == {first.run_id, second.run_id}


async def test_a_service_begins_although_the_database_is_not_there() -> None:
    async with service() as it:
        it.memory.reading.shut()
        it.memory.writing.shut()
        await it.maintenance.start()
        it.memory.reading.reopen()


async def test_what_an_earlier_process_left_is_ended_before_anything_else() -> None:
    async with service() as it:
        run = await _left(it, committed=5)
        _crashed(it.folder)
        await it.maintenance.start()
        assert (await _found(it, run))[0].state == "interrupted"
