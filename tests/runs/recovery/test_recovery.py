"""Recovery: runs of workers that have ended get an end, and no event is lost or stored twice."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.access.principal import Principal
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
from service.runs.log import Silence
from service.runs.recovery.late import GAP
from service.runs.run import Run
from service.store.journal.batch import Batch
from service.store.records import NewRun, Segment, StoredRun
from service.store.workers import WorkerBeat
from telemetry import Telemetry, TelemetryConfig
from tests._support.runs.event_samples import REPORT
from tests._support.runs.service import FOREVER, LEASE_S, LONG, ME, Service, service
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
        assert {path.stem for path in it.folder.iterdir()} == {it.lease.worker_id}


async def test_an_interrupted_run_can_be_retried() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        _crashed(it.folder)
        await it.recovery.recover_stale_workers()
        again = await it.runs.retry(run.run_id, Principal(owner=ME))
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


# --- a spool that may lack events ---


async def _crash_with_incomplete_spool(it: Service, run: NewRun) -> None:
    """Leave a spool that lacks an event which a client may have received: its disk was full."""
    spool = _spool(it.folder, _spooled(run, 3, 5))
    (it.folder / f"{KILLED}.lock").write_bytes(b"")
    spool.abandon()


async def test_numbers_that_clients_may_know_are_not_given_to_the_end() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        await _crash_with_incomplete_spool(it, run)
        await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
    assert events[:-1] == EVENTS[:5]
    assert (stored.interrupted_at, stored.last_seq) == (5, 6 + GAP)
    final = events[-1]
    assert isinstance(final, RunFailed)
    assert (final.code, final.interrupted_at, final.partial) == ("interrupted", 5, True)


async def test_the_start_of_another_machine_makes_a_spool_incomplete() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5)
        spool = _spool(it.folder)
        (it.folder / f"{KILLED}.lock").write_text(json.dumps({"boot": "an earlier one"}))
        spool.abandon()
        await it.recovery.recover_stale_workers()
        assert (await _load(it, run))[0].last_seq == 6 + GAP


@pytest.mark.parametrize("after", [0, 4, 5, 6, 7, 1_000, 5 + GAP, 6 + GAP, 7 + GAP])
async def test_a_reader_behind_any_number_receives_the_missing_events_and_one_end(
    after: int,
) -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        await _crash_with_incomplete_spool(it, run)
        await it.recovery.recover_stale_workers()
        found = await it.runs.find(run.run_id, ME)
        with it.runs.reading(found, after) as reader:
            numbers: list[int] = []
            while (taken := await reader.take()) is not Silence.END:
                assert not isinstance(taken, Silence)
                numbers += range(reader.seq - len(taken) + 1, reader.seq + 1)
    assert numbers == [seq for seq in (1, 2, 3, 4, 5, 6 + GAP) if seq > after]


# --- workers of other machines ---


async def _maintain(it: Service, rounds: int) -> None:
    """Send heartbeats and recover stale workers every five seconds, as the tasks do."""
    for _ in range(rounds):
        await asyncio.sleep(LEASE_S / 3)
        await it.heartbeat.send()
        await it.recovery.recover_stale_workers()


async def test_a_worker_without_a_heartbeat_for_long_is_stale() -> None:
    async with service() as it:
        run = await _store_run(it, committed=5, worker="worker_far")
        await it.memory.workers.register("worker_far", LEASE_S)
        await _maintain(it, 6)
        stored, events = await _load(it, run)
    assert events[:-1] == EVENTS[:5]
    assert (stored.state, stored.attempt) == ("interrupted", 2)
    assert (stored.interrupted_at, stored.last_seq) == (5, 6 + GAP)


async def test_an_unregistered_worker_is_stale_after_the_same_time() -> None:
    async with service() as it:
        await _store_run(it, committed=5, worker="worker_far")
        await _maintain(it, 4)
        assert it.memory.the_run.state == "running"
        await _maintain(it, 2)
        assert it.memory.the_run.state == "interrupted"


async def test_a_worker_with_heartbeats_is_not_stale() -> None:
    async with service() as it:
        await _store_run(it, committed=5, worker="worker_far")
        for _ in range(20):
            await it.memory.workers.register("worker_far", LEASE_S)
            await _maintain(it, 1)
        assert it.memory.the_run.state == "running"


async def test_a_worker_without_a_heartbeat_is_alive_while_it_holds_its_lock() -> None:
    async with service() as it:
        await _store_run(it, committed=5)
        await it.memory.workers.register(KILLED, LEASE_S)
        living = _spool(it.folder)
        await _maintain(it, 20)
        assert it.memory.the_run.state == "running"
        living.close()


async def test_no_worker_is_stale_just_after_a_database_outage() -> None:
    async with service() as it:
        await _store_run(it, committed=5, worker="worker_far")
        await it.memory.workers.register("worker_far", LEASE_S)
        await _maintain(it, 3)
        it.memory.reading.shut()  # other workers could not send heartbeats
        with pytest.raises(StorageUnavailable):
            await it.recovery.recover_stale_workers()
        it.memory.reading.reopen()
        await _maintain(it, 4)
        assert it.memory.the_run.state == "running"


async def test_a_process_that_was_stopped_observes_others_anew() -> None:
    async with service() as it:
        await _store_run(it, committed=5, worker="worker_far")
        await it.memory.workers.register("worker_far", LEASE_S)
        await _maintain(it, 2)
        await asyncio.sleep(60)  # without an observation
        await _maintain(it, 4)
        assert it.memory.the_run.state == "running"


async def test_two_workers_that_recover_a_stale_one_store_nothing_twice() -> None:
    async with service() as one, service(beside=one) as other:
        run = await _store_run(one, committed=5, worker="worker_far")
        await one.memory.workers.register("worker_far", LEASE_S)
        one.memory.reading.delay_s = one.memory.writing.delay_s = 0.1
        await asyncio.gather(_maintain(one, 6), _maintain(other, 6))
        events = (await _load(one, run))[1]
    assert events[:-1] == EVENTS[:5]
    assert [event.type for event in events].count("run.failed") == 1


@pytest.mark.parametrize("confirms", [True, False])
async def test_a_takeover_that_failed_halfway_is_completed_later(confirms: bool) -> None:
    async with service() as it:
        run = await _store_run(it, committed=5, worker="worker_far")
        await _maintain(it, 4)
        await asyncio.sleep(LEASE_S / 3)
        if confirms:
            it.memory.impossible = lambda batch: bool(batch.endings)
        it.memory.writing.confirms = confirms
        with pytest.raises((StorageUnavailable, ValueError)):
            await _maintain_without_heartbeat(it)
        it.memory.writing.confirms, it.memory.impossible = True, lambda batch: False
        await it.recovery.recover_stale_workers()
        assert (await _load(it, run))[0].state == "interrupted"


async def _maintain_without_heartbeat(it: Service) -> None:
    for _ in range(3):
        await it.recovery.recover_stale_workers()
        await asyncio.sleep(LEASE_S / 3)


async def test_a_worker_without_a_lock_here_contests_the_lease() -> None:
    async with service() as it:
        await it.recovery.recover_stale_workers()
        assert not it.lease.is_contested
        await it.memory.workers.register("worker_far", LEASE_S)
        await it.recovery.recover_stale_workers()
        assert it.lease.is_contested


async def test_a_worker_whose_lock_is_here_does_not_contest_the_lease() -> None:
    async with service() as it, service(beside=it) as other:
        await other.heartbeat.send()
        await it.recovery.recover_stale_workers()
        assert not it.lease.is_contested


# --- late events ---


async def test_a_spool_that_returns_fills_the_gap() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        assert await it.memory.workers.take_over(WorkerBeat(KILLED, None), by="worker_b")
        async with service(beside=it) as other:
            await _end_as_taken_over(other, "worker_b")
            assert (await _load(it, run))[0].interrupted_at == 2
            _crashed(it.folder, _spooled(run, 3, 7))
            await it.recovery.recover_stale_workers()
        stored, events = await _load(it, run)
        answers = await it.memory.runs.list_agent_answers(ME, run.run_id)
        assert list(it.folder.glob(f"{KILLED}*")) == []
    assert events[:-1] == EVENTS[:6]
    assert isinstance(events[-1], RunFailed)
    assert (stored.state, stored.answer, stored.interrupted_at) == ("interrupted", "Hello", 6)
    assert stored.last_seq == 3 + GAP
    assert [answer.agent for answer in answers] == ["a"]


async def _end_as_taken_over(other: Service, worker_id: str) -> None:
    for _ in range(6):
        await _maintain(other, 1)
    assert other.memory.the_run.state == "interrupted", worker_id


async def test_a_spool_waits_for_the_end_of_a_run_that_was_taken_over() -> None:
    async with service() as it:
        run = await _store_run(it, committed=2)
        assert await it.memory.workers.take_over(WorkerBeat(KILLED, None), by="worker_b")
        _crashed(it.folder, _spooled(run, 3, 6))
        await it.recovery.recover_stale_workers()
        assert list(it.folder.glob(f"{KILLED}*"))
        await _maintain(it, 6)
        await it.recovery.recover_stale_workers()
        assert list(it.folder.glob(f"{KILLED}*")) == []
        stored, events = await _load(it, run)
    assert events[:-1] == EVENTS[:6]
    assert stored.interrupted_at == 6


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
