"""Recovery: runs of workers that have ended get an end, and no event is lost or stored twice."""

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

KILLED = "worker_killed"
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


async def _store_run(of: Service, committed: int, worker: str = KILLED) -> NewRun:
    """Store a run with its first `committed` events, without an end."""
    opened = make_run("Why?", owner=ME, worker=worker)
    data = encode_events(EVENTS[:committed])
    segment = Segment(run_id=opened.run_id, owner=ME, first_seq=1, last_seq=committed, data=data)
    await of.memory.journal.write(Batch([opened], segments=[segment] if committed else []))
    return opened


def _spooled(run: NewRun, first: int, last: int) -> Spooled:
    """Return events `first` to `last` of a run as an entry of the spool."""
    return Spooled(run.run_id, first, encode_events(EVENTS[first - 1 : last]))


def _spool(folder: Path, *entries: Spooled, worker: str = KILLED) -> Spool:
    spool = Spool(folder, worker)
    spool.open()
    spool.write(entries)
    return spool


def _crashed(folder: Path, *entries: Spooled, worker: str = KILLED) -> None:
    """Leave the spool of a worker that was killed."""
    _spool(folder, *entries, worker=worker).abandon()


async def _load(of: Service, run: NewRun) -> tuple[StoredRun, Sequence[Event]]:
    """Return the stored run and its events."""
    found = await of.runs.find(run.run_id, ME)
    assert isinstance(found, Run)
    return await of.stored(found), found.log.after(0)


# --- workers of this machine ---


async def test_an_unfinished_run_ends_as_interrupted() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
    final = events[-1]
    assert isinstance(final, RunFailed)
    assert (final.code, final.partial, final.elapsed_ms) == ("interrupted", True, None)
    assert "its events until then are stored" in final.message
    assert (stored.state, stored.code, stored.answer) == ("interrupted", "interrupted", "Hel")


async def test_an_interrupted_run_has_exactly_its_stored_events() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
    assert events[:-1] == EVENTS[:5]
    assert stored.last_seq == 6
    assert (stored.usage, stored.cost_usd) == (PAID.usage, PAID.cost)


async def test_events_that_readers_received_are_recovered_from_the_spool() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 4), _spooled(run, 5, 6))
        await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
    assert events[:-1] == EVENTS[:6]
    assert stored.answer == "Hello"


async def test_a_run_with_its_end_in_the_spool_is_completed() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 7))
        await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
    assert events == EVENTS
    assert (stored.state, stored.answer, stored.answered_by) == ("completed", "Hello", "c")
    assert (stored.cost_usd, stored.elapsed_ms, stored.last_seq) == (1.5, 9.0, 7)


async def test_answers_in_the_spool_are_stored() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 7))
        await it.recovery.recover_stale_workers()
        answers = await it.memory.runs.list_agent_answers(ME, run.run_id)
    assert {answer.agent: (answer.state, answer.report.text) for answer in answers} == {
        "a": ("answered", "said"),
        "c": ("answered", "said"),
    }


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
async def test_events_in_both_the_store_and_the_spool_are_stored_once(first: int) -> None:
    async with service() as it:
        run = await _store_run(it, committed=4)
        _crashed(it.folder, _spooled(run, first, 4), _spooled(run, 5, 7))
        await it.recovery.recover_stale_workers()
        assert (await _load(it, run))[1] == EVENTS


@pytest.mark.parametrize("last", [4, 5, 6, 7])
async def test_a_line_may_start_within_the_committed_events(last: int) -> None:
    async with service() as it:
        run = await _store_run(it, committed=4)
        _crashed(it.folder, _spooled(run, 3, last))
        await it.recovery.recover_stale_workers()
        assert (await _load(it, run))[1][:last] == EVENTS[:last]


async def test_events_behind_a_gap_are_ignored() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 3), _spooled(run, 5, 7))
        await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
    assert events[:-1] == EVENTS[:3]
    assert stored.state == "interrupted"


async def test_events_behind_a_malformed_line_are_ignored() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        bad = Spooled(run.run_id, 4, b'[{"type":"unheard of"}]')
        _crashed(it.folder, _spooled(run, 3, 3), bad, _spooled(run, 4, 7))
        await it.recovery.recover_stale_workers()
        events = (await _load(it, run))[1]
    assert events[:3] == EVENTS[:3]
    assert events[-1].final


async def test_a_run_without_events_is_interrupted() -> None:
    async with service() as it:
        run = await _store_run(it, committed=0)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
    assert [event.type for event in events] == ["run.failed"]
    assert (stored.state, stored.question, stored.answer) == ("interrupted", "Why?", "")


async def test_each_run_gets_its_own_events() -> None:
    async with service() as it:
        first, second = await _store_run(it, committed=2), await _store_run(it, committed=3)
        _crashed(it.folder, _spooled(second, 4, 7), _spooled(first, 3, 5))
        await it.recovery.recover_stale_workers()
        assert (await _load(it, first))[1][:-1] == EVENTS[:5]
        assert (await _load(it, second))[1] == EVENTS


async def test_events_of_an_unknown_run_are_ignored() -> None:
    async with service() as it:
        _crashed(it.folder, Spooled("run_0", 1, encode_events(EVENTS)))
        await it.recovery.recover_stale_workers()
        assert it.memory.tables.runs == {}


async def test_the_retention_of_an_interrupted_run_starts_at_its_recovery() -> None:
    async with service(limits={"retention_s": 60}) as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        stored = await it.memory.runs.get(ME, run.run_id)
        assert stored is not None
        assert stored.ended_at is not None
        expires = it.memory.tables.expire_at[run.run_id]
    assert expires - stored.ended_at == timedelta(seconds=60)


async def test_the_files_of_a_recovered_worker_are_removed() -> None:
    async with service() as it:
        _crashed(it.folder, _spooled(await _store_run(it, committed=2), 3, 7))
        await it.recovery.recover_stale_workers()
        assert {path.stem for path in it.folder.iterdir()} == {it.worker_id}


async def test_an_interrupted_run_can_be_retried() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        again = await it.runs.retry(run.run_id, ME)
        assert isinstance((await it.read(again))[-1], RunFinished)


# --- live workers ---


async def test_a_run_of_a_live_worker_is_not_ended() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        living = _spool(it.folder, _spooled(run, 3, 7))
        await it.recovery.recover_stale_workers()
        assert it.memory.the_run.state == "running"
        living.close()


async def test_a_worker_does_not_end_its_own_runs() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        with it.runs.reading(run):
            for _ in range(10):
                await it.heartbeat.send()
                await it.recovery.recover_stale_workers()
                await asyncio.sleep(10)
            assert it.memory.the_run.state == "running"


async def test_two_workers_that_recover_at_once_end_the_run_once() -> None:
    async with service() as one, service(beside=one) as other:
        run = await _store_run(one, committed=2)
        _crashed(one.folder, _spooled(run, 3, 7))
        one.memory.reading.delay_s = one.memory.writing.delay_s = 0.1
        await asyncio.gather(
            one.recovery.recover_stale_workers(), other.recovery.recover_stale_workers()
        )
        assert len(one.memory.batches) == 2
        assert (await _load(one, run))[1] == EVENTS


async def test_the_spool_waits_for_the_database() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder, _spooled(run, 3, 7))
        it.memory.writing.shut()
        with pytest.raises(StorageUnavailable):
            await it.recovery.recover_stale_workers()
        it.memory.writing.reopen()
        await it.recovery.recover_stale_workers()
        assert (await _load(it, run))[1] == EVENTS


@pytest.mark.parametrize("confirms", [True, False])
async def test_a_recovery_that_failed_halfway_is_completed_later(confirms: bool) -> None:
    async with service() as it:
        runs = [await _store_run(it, committed=2) for _ in range(2)]
        _crashed(it.folder, *(_spooled(run, 3, 7) for run in runs))
        it.memory.writing.confirms = confirms
        if confirms:
            it.memory.impossible = lambda batch: any(
                e.run_id == runs[1].run_id for e in batch.endings
            )
        with pytest.raises((StorageUnavailable, ValueError)):
            await it.recovery.recover_stale_workers()
        it.memory.writing.confirms, it.memory.impossible = True, lambda batch: False
        await it.recovery.recover_stale_workers()
        for run in runs:
            assert (await _load(it, run))[1] == EVENTS


# --- workers of other machines ---


async def _maintain(it: Service, rounds: int) -> None:
    """Send heartbeats and recover stale workers every five seconds, as maintenance does."""
    for _ in range(rounds):
        await asyncio.sleep(5)
        await it.heartbeat.send()
        await it.recovery.recover_stale_workers()


async def test_a_worker_without_a_heartbeat_for_long_is_stale() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5, worker="worker_far")
        await it.memory.workers.register("worker_far", run.created_at)
        await _maintain(it, 6)
        stored, events = await _load(it, run)
    assert events[:-1] == EVENTS[:5]
    assert stored.state == "interrupted"


async def test_a_worker_with_heartbeats_is_not_stale() -> None:
    async with service() as it:
        await _store_run(it, committed=5, worker="worker_far")
        for _ in range(20):
            await it.memory.workers.register("worker_far", datetime.now(UTC))
            await _maintain(it, 1)
        assert it.memory.the_run.state == "running"


async def test_no_worker_is_stale_before_all_could_send_a_heartbeat() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5, worker="worker_far")
        await it.memory.workers.register("worker_far", run.created_at)
        await _maintain(it, 4)
        assert it.memory.the_run.state == "running"


async def test_no_worker_is_stale_just_after_a_database_outage() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5, worker="worker_far")
        await _maintain(it, 1)
        await it.memory.workers.register("worker_far", run.created_at)
        it.memory.writing.shut()
        for _ in range(10):  # other workers could not send heartbeats
            await asyncio.sleep(5)
            with pytest.raises(StorageUnavailable):
                await it.heartbeat.send()
        it.memory.writing.reopen()
        await _maintain(it, 4)
        assert it.memory.the_run.state == "running"


async def test_two_workers_that_recover_a_stale_one_store_nothing_twice() -> None:
    async with service() as one, service(beside=one) as other:
        run = await _store_run(one, committed=5, worker="worker_far")
        await one.memory.workers.register("worker_far", run.created_at)
        one.memory.reading.delay_s = one.memory.writing.delay_s = 0.1
        await asyncio.gather(_maintain(one, 6), _maintain(other, 6))
        events = (await _load(one, run))[1]
    assert events[:-1] == EVENTS[:5]
    assert [event.type for event in events].count("run.failed") == 1


# --- logs and metrics; the start of a worker ---


async def test_recovered_runs_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry(TelemetryConfig())
    with caplog.at_level(logging.WARNING):
        async with service(telemetry=telemetry) as it:
            first, second = await _store_run(it, committed=5), await _store_run(it, committed=2)
            _crashed(it.folder, _spooled(second, 3, 7))
            await it.recovery.recover_stale_workers()
    page = telemetry.render_metrics("")[0].decode()
    counts = re.findall(r'^\w*recover\w*_total\{outcome="(\w+)"\} (\S+)$', page, re.MULTILINE)
    assert dict(counts) == {"interrupted": "1.0", "completed": "1.0"}
    logged = {record.run_id for record in caplog.records if hasattr(record, "run_id")}
    assert logged == {first.run_id, second.run_id}


async def test_a_worker_starts_without_its_database() -> None:
    async with service() as it:
        it.memory.reading.shut()
        it.memory.writing.shut()
        await it.maintenance.start()
        it.memory.reading.reopen()


async def test_runs_of_an_earlier_worker_are_ended_at_the_start() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5)
        _crashed(it.folder)
        await it.maintenance.start()
        assert (await _load(it, run))[0].state == "interrupted"
