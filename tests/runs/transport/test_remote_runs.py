"""Runs of another worker: reading them here, keeping them running, and cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.events import RunFailed
from service.runs.run import LiveRun, Run
from service.runs.transport.database import RemoteRun
from tests._support.llm.scripted import model, now
from tests._support.runs.service import FOREVER, LONG, ME, Service, failed, service

# An event every 100 ms for five seconds.
TALKING = {"a": {"model": model("a", tokens=50, gap_ms=100), "timeout_s": 80_000}}
GRACE = {"detach_grace_s": 5}


@asynccontextmanager
async def maintained(process: Service) -> AsyncIterator[None]:
    """Run the maintenance of a worker, which reads signals, for the time of the block."""
    maintenance = asyncio.create_task(process.maintenance.run())
    try:
        yield
    finally:
        maintenance.cancel()
        await asyncio.wait([maintenance])


async def _load_remote(run: LiveRun, by: Service) -> Run:
    """Return `run` as another worker loads it."""
    remote = await by.runs.find(run.id, ME)
    assert isinstance(remote, RemoteRun)
    return remote


# --- reading ---


async def test_a_remote_run_is_read_to_its_end_without_gap_or_repetition() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        await asyncio.sleep(2)
        assert await other.read(await _load_remote(run, other)) == run.log.after(0)


async def test_a_remote_run_is_read_from_the_readers_last_event() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        await asyncio.sleep(2)
        seen = len(run.log)  # more than is committed
        assert await other.read(await _load_remote(run, other), seen) == run.log.after(seen)


async def test_events_of_a_remote_run_arrive_while_it_is_running() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        remote = await _load_remote(run, other)
        with other.runs.reading(remote) as reader:
            for _ in range(3):
                await reader.take()
            assert not run.log.finished
            assert now() < 2


async def test_the_readers_of_a_remote_run_share_one_log() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        first = await _load_remote(run, other)
        with other.runs.reading(first):
            second = await _load_remote(run, other)
            assert second is first
            assert await other.read(second) == run.log.after(0)


async def test_a_reader_that_reconnects_follows_a_remote_run_again() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        remote = await _load_remote(run, other)
        with other.runs.reading(remote) as reader:
            await reader.take()
        await asyncio.sleep(2)
        assert await other.read(remote, reader.seq) == run.log.after(reader.seq)


async def test_a_remote_run_is_complete_only_with_its_end() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        remote = await _load_remote(await one.start(), other)
        assert not remote.is_complete
        await other.read(remote)
        assert remote.is_complete


async def test_a_remote_run_without_readers_is_not_followed() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        remote = await _load_remote(await one.start(), other)
        before = asyncio.all_tasks()
        with other.runs.reading(remote):
            await asyncio.sleep(1)
            assert len(asyncio.all_tasks() - before) == 1
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_readers_of_a_remote_run_miss_nothing_after_an_outage() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _load_remote(run, other)))
        await asyncio.sleep(1)
        one.memory.reading.shut()
        one.memory.writing.shut()
        await asyncio.sleep(10)
        assert not reading.done()
        one.memory.reading.reopen()
        one.memory.writing.reopen()
        assert await reading == run.log.after(0)


async def test_a_remote_run_that_is_deleted_ends_for_its_readers() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _load_remote(run, other)))
        await asyncio.sleep(1)
        one.memory.tables.delete(run.id)
        final = (await reading)[-1]
    assert isinstance(final, RunFailed)
    assert final.code == "run_not_found"


async def test_a_remote_run_that_expires_ends_for_its_readers() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _load_remote(run, other)))
        await asyncio.sleep(1)
        one.memory.reading.shut()
        await one.read(run)
        await one.journal.settle(30)
        await one.expire(after_s=10_000)
        one.memory.reading.reopen()
        final = (await asyncio.wait_for(reading, 60))[-1]
    assert isinstance(final, RunFailed)
    assert final.code == "run_expired"


async def test_readers_of_remote_runs_are_released_by_a_drain() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _load_remote(run, other)))
        await asyncio.sleep(1)
        await other.runs.drain(0)
        assert await reading == run.log.after(0)
        assert not run.log.finished


# --- keeping a run running ---


async def test_a_run_continues_while_another_worker_has_readers() -> None:
    async with (
        service(FOREVER, None, limits=GRACE, **LONG) as one,
        service(beside=one) as other,
        maintained(one),
    ):
        run = await one.start()
        with other.runs.reading(await _load_remote(run, other)):
            await asyncio.sleep(120)
            assert not run.log.finished


async def test_a_run_stops_after_its_last_reader_on_any_worker_has_left() -> None:
    async with (
        service(FOREVER, None, limits=GRACE, **LONG) as one,
        service(beside=one) as other,
        maintained(one),
    ):
        run = await one.start()
        with other.runs.reading(await _load_remote(run, other)):
            await asyncio.sleep(60)
        left = now()
        one.memory.age(16)  # later than the last mark of the reader
        assert (await failed(run)).code == "abandoned"
        assert now() - left < 30


async def test_a_reader_on_another_worker_does_not_shorten_a_local_readers_run() -> None:
    async with (
        service(FOREVER, None, limits=GRACE, **LONG) as one,
        service(beside=one) as other,
        maintained(one),
    ):
        run = await one.start()
        with one.runs.reading(run):
            with other.runs.reading(await _load_remote(run, other)):
                await asyncio.sleep(10)
            one.memory.age(16)  # later than the last mark of the remote reader
            await asyncio.sleep(120)
            assert not run.log.finished


# --- stopping ---


async def test_a_run_can_be_cancelled_from_another_worker() -> None:
    async with (
        service(FOREVER, None, **LONG) as one,
        service(beside=one) as other,
        maintained(one),
    ):
        run = await one.start()
        remote = await _load_remote(run, other)
        await other.runs.cancel(remote)
        assert (await failed(run)).code == "cancelled"
        assert remote.log.after(0) == run.log.after(0)
        assert now() < 3


async def test_cancelling_a_run_of_a_stopped_worker_has_a_time_limit() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()  # it does not listen
        await other.runs.cancel(await _load_remote(run, other))
        assert now() == pytest.approx(5, abs=0.1)


async def test_a_late_stop_signal_changes_nothing() -> None:
    async with service() as one, service(beside=one) as other:
        run = await one.finish()
        again = await other.runs.find(run.id, ME)
        await other.runs.cancel(again)
        assert (await one.stored(run)).state == "completed"
        assert one.memory.tables.signals == {}
