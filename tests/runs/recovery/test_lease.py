"""The lease: without a recent heartbeat no events are delivered and no runs accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest

from service.errors import StorageUnavailable
from service.events import RunFailed, RunFinished
from service.runs.log import Silence
from service.runs.recovery.late import GAP
from service.runs.recovery.lease import BEATS_PER_LEASE, STALE_FACTOR, Lease
from service.runs.recovery.observation import Observation
from service.runs.transport.database import RemoteRun
from service.store.workers import WorkerBeat
from tests._support.llm.scripted import model, now
from tests._support.runs.service import FOREVER, LEASE_S, LONG, ME, Service, ended, service

# An event every second for 100 s.
TALKING = {
    "a": {"model": model("a", tokens=100, gap_ms=1_000), "idle_timeout_s": 60, "timeout_s": 80_000}
}


@asynccontextmanager
async def leased(process: Service) -> AsyncIterator[None]:
    """Let the process need its lease, and send heartbeats for the time of the block."""
    process.lease._until = 0  # the service of tests holds it without an end
    await process.heartbeat.send()
    beating = asyncio.create_task(process.heartbeat.run())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        process.lease.hold_without_end()


@contextmanager
def away(process: Service) -> Iterator[None]:
    """Cut the process off from its database."""
    for gate in (process.memory.reading, process.memory.writing):
        gate.shut()
    try:
        yield
    finally:
        for gate in (process.memory.reading, process.memory.writing):
            gate.reopen()


# --- length ---


def test_a_lease_ends_well_before_others_take_the_worker_over() -> None:
    clock = iter([0.0, 14.9, 15.1])
    lease = Lease("worker", 15.0, lambda: next(clock))
    assert not lease.is_held
    lease.extend(0.0)
    assert (lease.is_held, lease.is_held) == (True, False)
    assert STALE_FACTOR * 15.0 - 15.0 >= 15.0 / BEATS_PER_LEASE


def test_a_lease_counts_from_the_start_of_the_heartbeat_and_never_gets_shorter() -> None:
    lease = Lease("worker", 15.0, lambda: 20.0)
    lease.extend(10.0)
    lease.extend(0.0)  # an earlier heartbeat, confirmed later
    assert lease.is_held


# --- observation ---

BEAT = WorkerBeat("a", 1, 15.0)


def _observe(beats: list[tuple[float, WorkerBeat]]) -> list[float]:
    """Return the times at which the observation finds a stale worker."""
    observation = Observation(15.0)
    return [at for at, beat in beats if observation.find_stale([beat], at, at)]


def test_a_worker_is_stale_after_four_thirds_of_its_lease() -> None:
    assert _observe([(at, BEAT) for at in (0, 5, 10, 15, 19.9, 20, 25)]) == [20, 25]


def test_the_lease_of_the_observed_worker_decides() -> None:
    longer = replace(BEAT, lease_s=60.0)
    assert _observe([(5.0 * step, longer) for step in range(20)]) == [80, 85, 90, 95]


def test_a_new_beat_starts_the_observation_anew() -> None:
    beats = [BEAT, BEAT, BEAT, BEAT, replace(BEAT, beat=2), *[replace(BEAT, beat=2)] * 3]
    assert _observe([(5.0 * step, beat) for step, beat in enumerate(beats)]) == []


def test_a_break_starts_the_observation_anew() -> None:
    assert _observe([(at, BEAT) for at in (0, 5, 10, 15, 25.1, 30, 35, 40, 45.1)]) == [45.1]


def test_the_time_of_a_slow_read_counts_for_the_worker() -> None:
    observation = Observation(15.0)
    assert observation.find_stale([BEAT], 0.0, 4.0) == []
    for at in (8.0, 13.0, 18.0, 23.0):
        assert observation.find_stale([BEAT], at, at + 4) == []
    assert observation.find_stale([BEAT], 24.0, 28.0) == [BEAT]


def test_a_failed_observation_starts_it_anew() -> None:
    observation = Observation(15.0)
    for at in (0.0, 5.0, 10.0, 15.0):
        observation.find_stale([BEAT], at, at)
    observation.restart()
    assert [at for at in (20.0, 25, 30, 35) if observation.find_stale([BEAT], at, at)] == []


# --- delivery ---


async def test_no_event_is_delivered_without_a_lease() -> None:
    async with service(TALKING, None, **LONG) as it, leased(it):
        run = await it.start()
        with it.runs.reading(run) as reader:
            await reader.take()
            with away(it):
                await asyncio.sleep(LEASE_S + 1)
                before = reader.seq
                assert not it.lease.is_held
                assert await reader.take() is Silence.KEEP_ALIVE
                assert reader.seq == before
                assert len(run.log) > before + 10  # the model is read further


async def test_delivery_continues_without_loss_after_the_next_heartbeat() -> None:
    async with service(TALKING, None, **LONG) as it, leased(it):
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        with away(it):
            await asyncio.sleep(LEASE_S * 2)
        assert await reading == run.log.after(0)
        assert isinstance(run.log.after(0)[-1], RunFinished)


async def test_the_end_waits_for_the_lease_too() -> None:
    async with service(FOREVER, None, **LONG) as it, leased(it):
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        with away(it):
            await asyncio.sleep(LEASE_S + 1)
            await it.runs.cancel(run)
            await asyncio.sleep(5)
            assert not reading.done()
        assert (await reading)[-1].final


async def test_a_drain_does_not_wait_for_a_lease() -> None:
    async with service(FOREVER, None, **LONG) as it, leased(it):
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        with away(it):
            await asyncio.sleep(LEASE_S + 1)
            before = now()
            await it.runs.drain(0)
            await reading
            assert now() - before < 10


async def test_runs_are_refused_without_a_lease() -> None:
    async with service() as it, leased(it):
        with away(it):
            await asyncio.sleep(LEASE_S + 1)
        it.journal.failing = None
        with pytest.raises(StorageUnavailable):
            await it.start()
        await asyncio.sleep(1)
        await it.read(await it.start())


async def test_a_run_without_a_lease_is_read_from_the_store() -> None:
    async with service(TALKING, None, **LONG) as it, leased(it):
        run = await it.start()
        it.memory.writing.shut()
        await asyncio.sleep(LEASE_S + 1)
        assert isinstance(await it.runs.get(run.id, ME), RemoteRun)
        it.memory.writing.reopen()
        await asyncio.sleep(1)
        assert await it.runs.get(run.id, ME) is run


# --- takeovers ---


async def _take_over(of: Service, by: Service) -> None:
    """Let a worker of another machine observe a long silence and take the runs over."""
    for _ in range(6):
        await by.recovery.recover_stale_workers()
        await asyncio.sleep(LEASE_S / 3)
    assert of.lease.worker_id not in by.memory.tables.beats


async def test_a_run_that_was_taken_over_gets_the_stored_end_and_no_other() -> None:
    async with service(TALKING, None, **LONG) as it, service(far_from=it) as other, leased(it):
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        with away(it):
            await asyncio.sleep(3)
            await _take_over(it, by=other)
        events = await reading
        there = await other.runs.find(run.id, ME)
        assert events == run.log.after(0) == there.log.after(0)
        assert run.log.last_seq == there.log.last_seq > GAP
        assert isinstance(events[-1], RunFailed)
        assert events[-1].code == "interrupted"
        assert run.log.interrupted_at == len(events) - 1


async def test_events_of_a_run_that_was_taken_over_are_stored() -> None:
    async with service(TALKING, None, **LONG) as it, service(far_from=it) as other, leased(it):
        run = await it.start()
        with away(it):
            await asyncio.sleep(3)
            await _take_over(it, by=other)
            before = (await other.stored(run)).interrupted_at
        await asyncio.sleep(2)
        stored = await it.stored(run)
        assert before is not None
        assert stored.interrupted_at == run.log.interrupted_at
        assert run.log.interrupted_at is not None
        assert run.log.interrupted_at > before + 10
        assert await it.kept_events(run) == run.log.after(0)
        assert it.runs.open_count == 0
        assert it.upstream_calls == 0


async def test_without_a_lease_no_end_is_logged_before_its_commit() -> None:
    async with (
        service(TALKING, None, limits={"detach_grace_s": LEASE_S + 2}, **LONG) as it,
        leased(it),
    ):
        run = await it.start()
        with away(it):
            await asyncio.sleep(LEASE_S * 2)  # it is abandoned meanwhile
            assert not run.log.finished
        assert (await ended(run)).final


async def test_an_end_that_was_never_delivered_gives_way_to_the_stored_one() -> None:
    async with service(FOREVER, None, **LONG) as it, service(far_from=it) as other, leased(it):
        it.lease.is_contested = True
        run = await it.start()
        with away(it):
            await it.runs.cancel(run)
            assert not run.log.finished
            await _take_over(it, by=other)
        final = await ended(run)
        assert isinstance(final, RunFailed)
        assert final.code == "interrupted"


async def test_with_a_contested_lease_the_end_is_committed_before_it_is_delivered() -> None:
    async with service(FOREVER, None, **LONG) as it:
        it.lease.is_contested = True
        run = await it.start()
        it.memory.writing.shut()
        await it.runs.cancel(run)
        await asyncio.sleep(60)
        assert not run.log.finished
        it.memory.writing.reopen()
        assert (await ended(run)).final
        assert (await it.stored(run)).state == "cancelled"


async def test_a_worker_that_is_still_registered_keeps_its_runs() -> None:
    async with service(TALKING, None, **LONG) as it, leased(it):
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        with away(it):
            await asyncio.sleep(LEASE_S * 3)
        events = await reading
        assert isinstance(events[-1], RunFinished)
        assert (await it.stored(run)).attempt == 1


async def test_a_run_that_was_deleted_during_a_silence_ends() -> None:
    async with service(FOREVER, None, **LONG) as it, leased(it):
        run = await it.start()
        with away(it):
            await asyncio.sleep(LEASE_S + 1)
            it.memory.tables.delete(run.id)
        final = await ended(run)
        assert isinstance(final, RunFailed)
        assert final.code == "run_not_found"


async def test_a_takeover_is_not_missed_when_the_registration_is_not_confirmed() -> None:
    async with service(TALKING, None, **LONG) as it, service(far_from=it) as other, leased(it):
        run = await it.start()
        with away(it):
            await asyncio.sleep(1)
            await _take_over(it, by=other)
            await other.memory.workers.register(it.lease.worker_id, LEASE_S)  # without a reply
        assert isinstance(await ended(run), RunFailed)
        assert run.log.last_seq > GAP
