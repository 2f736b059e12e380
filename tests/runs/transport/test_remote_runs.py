"""A run that another process works on: read here to the end, kept going, and stopped from here."""

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

# Text for five seconds.
TALKING = {"a": {"model": model("a", tokens=50, gap_ms=100), "timeout_s": 80_000}}
GRACE = {"detach_grace_s": 5}


@asynccontextmanager
async def listening(process: Service) -> AsyncIterator[None]:
    """Let a process hear what the others want."""
    maintenance = asyncio.create_task(process.maintenance.run())
    try:
        yield
    finally:
        maintenance.cancel()
        await asyncio.wait([maintenance])


async def _mirrored(run: LiveRun, by: Service) -> Run:
    """Return `run` as another process has it."""
    remote = await by.runs.find(run.id, ME)
    assert isinstance(remote, RemoteRun)
    return remote


# --- reading ---


async def test_it_is_read_to_its_end_without_a_gap_or_a_repeat() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        await asyncio.sleep(2)
        assert await other.read(await _mirrored(run, other)) == run.log.after(0)


async def test_it_is_read_from_the_event_on_that_a_reader_has() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        await asyncio.sleep(2)
        seen = len(run.log)  # more than is committed
        assert await other.read(await _mirrored(run, other), seen) == run.log.after(seen)


async def test_its_events_come_while_it_goes_on() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        remote = await _mirrored(run, other)
        with other.runs.reading(remote) as reader:
            for _ in range(3):
                await reader.take()
            assert not run.log.finished
            assert now() < 2


async def test_its_readers_here_follow_it_together() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        first = await _mirrored(run, other)
        with other.runs.reading(first):
            second = await _mirrored(run, other)
            assert second is first
            assert await other.read(second) == run.log.after(0)


async def test_a_reader_that_comes_back_follows_it_again() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        remote = await _mirrored(run, other)
        with other.runs.reading(remote) as reader:
            await reader.take()
        await asyncio.sleep(2)
        assert await other.read(remote, reader.seq) == run.log.after(reader.seq)


async def test_it_is_complete_here_only_with_its_end() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        remote = await _mirrored(await one.start(), other)
        assert not remote.is_complete
        await other.read(remote)
        assert remote.is_complete


async def test_nothing_follows_it_any_more_when_its_readers_have_left() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        remote = await _mirrored(await one.start(), other)
        before = asyncio.all_tasks()
        with other.runs.reading(remote):
            await asyncio.sleep(1)
            assert len(asyncio.all_tasks() - before) == 1
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_a_database_that_is_down_for_a_while_costs_its_readers_nothing() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _mirrored(run, other)))
        await asyncio.sleep(1)
        one.memory.reading.shut()
        one.memory.writing.shut()
        await asyncio.sleep(10)
        assert not reading.done()
        one.memory.reading.reopen()
        one.memory.writing.reopen()
        assert await reading == run.log.after(0)


async def test_a_run_that_is_deleted_ends_for_its_readers_here() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _mirrored(run, other)))
        await asyncio.sleep(1)
        one.memory.tables.delete(run.id)
        final = (await reading)[-1]
    assert isinstance(final, RunFailed)
    assert final.code == "run_not_found"


async def test_a_run_whose_events_expire_before_they_came_here_ends_for_its_readers() -> None:
    async with service(TALKING, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _mirrored(run, other)))
        await asyncio.sleep(1)
        one.memory.reading.shut()
        await one.read(run)
        await one.journal.settle(30)
        await one.expire(after_s=10_000)
        one.memory.reading.reopen()
        final = (await asyncio.wait_for(reading, 60))[-1]
    assert isinstance(final, RunFailed)
    assert final.code == "run_expired"


async def test_readers_here_are_let_go_when_this_process_ends() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        reading = asyncio.create_task(other.read(await _mirrored(run, other)))
        await asyncio.sleep(1)
        await other.runs.drain(0)
        assert await reading == run.log.after(0)
        assert not run.log.finished


# --- going on ---


async def test_a_run_goes_on_while_somebody_reads_it_elsewhere() -> None:
    async with (
        service(FOREVER, None, limits=GRACE, **LONG) as one,
        service(beside=one) as other,
        listening(one),
    ):
        run = await one.start()
        with other.runs.reading(await _mirrored(run, other)):
            await asyncio.sleep(120)
            assert not run.log.finished


async def test_it_is_stopped_after_the_last_reader_anywhere_has_left() -> None:
    async with (
        service(FOREVER, None, limits=GRACE, **LONG) as one,
        service(beside=one) as other,
        listening(one),
    ):
        run = await one.start()
        with other.runs.reading(await _mirrored(run, other)):
            await asyncio.sleep(60)
        left = now()
        one.memory.age(16)  # what the reader has said last is over then
        assert (await failed(run)).code == "abandoned"
        assert now() - left < 30


async def test_a_reader_elsewhere_does_not_stop_who_reads_here() -> None:
    async with (
        service(FOREVER, None, limits=GRACE, **LONG) as one,
        service(beside=one) as other,
        listening(one),
    ):
        run = await one.start()
        with one.runs.reading(run):
            with other.runs.reading(await _mirrored(run, other)):
                await asyncio.sleep(10)
            one.memory.age(16)  # what the reader elsewhere has said last is over then
            await asyncio.sleep(120)
            assert not run.log.finished


# --- stopping ---


async def test_it_is_stopped_from_elsewhere() -> None:
    async with (
        service(FOREVER, None, **LONG) as one,
        service(beside=one) as other,
        listening(one),
    ):
        run = await one.start()
        remote = await _mirrored(run, other)
        await other.runs.cancel(remote)
        assert (await failed(run)).code == "cancelled"
        assert remote.log.after(0) == run.log.after(0)
        assert now() < 3


async def test_who_stops_a_run_that_nobody_works_on_waits_only_so_long() -> None:
    async with service(FOREVER, None, **LONG) as one, service(beside=one) as other:
        run = await one.start()  # it does not listen
        await other.runs.cancel(await _mirrored(run, other))
        assert now() == pytest.approx(5, abs=0.1)


async def test_a_stop_that_comes_too_late_changes_nothing() -> None:
    async with service() as one, service(beside=one) as other:
        run = await one.finish()
        again = await other.runs.find(run.id, ME)
        await other.runs.cancel(again)
        assert (await one.stored(run)).state == "completed"
        assert one.memory.tables.signals == {}
