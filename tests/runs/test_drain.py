"""A drain: no new runs, an end for each open run, and its final event for each reader."""

from __future__ import annotations

import asyncio

import pytest

from service.access.principal import Principal
from service.errors import RequestError
from service.events import RunFinished
from tests._support.llm.scripted import model, now
from tests._support.runs.service import FOREVER, LONG, ended, failed, service


async def test_draining_refuses_new_runs_with_retry_after() -> None:
    async with service() as it:
        await it.runs.drain(0)
        with pytest.raises(RequestError) as caught:
            await it.start()
    error = caught.value
    assert error.code == "draining"
    assert int(error.headers["Retry-After"]) > 0


async def test_a_run_may_finish_within_the_drain() -> None:
    agents = {"a": {"model": model(first_ms=9_000)}}
    async with service(agents) as it:
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        await it.runs.drain(20)
        assert isinstance(await ended(run), RunFinished)
        assert (await reading)[-1].final
        assert now() < 10


async def test_a_run_that_does_not_finish_is_stopped_with_a_final_event() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        reading = asyncio.create_task(it.read(run))
        await it.runs.drain(20)
        assert (await failed(run)).code == "shutting_down"
        assert (await reading)[-1].final
        assert it.upstream_calls == 0


async def test_after_a_drain_every_run_has_ended_also_without_readers() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        await asyncio.sleep(1)
        await it.runs.drain(0)
        assert run.log.finished
        assert run.ended.done()


async def test_a_drain_does_not_wait_forever_for_a_reader_that_takes_nothing() -> None:
    async with service(FOREVER, **LONG) as it:
        with it.runs.reading(await it.start()):
            await it.runs.drain(1)
    assert now() < 10


@pytest.mark.parametrize("drain_s", [20, 0])
async def test_a_question_during_its_commit_counts_as_an_open_run(drain_s: float) -> None:
    async with service() as it:
        it.memory.writing.delay_s = 1
        starting = asyncio.create_task(it.start())
        await asyncio.sleep(0.5)
        await it.runs.drain(drain_s)
        assert (await starting).log.finished


async def test_the_ends_of_drained_runs_are_stored() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        await it.runs.drain(0)
        await it.journal.settle(30)
        assert (await it.stored(run)).code == "shutting_down"


async def test_a_run_that_a_drain_stopped_can_be_retried() -> None:
    async with service(FOREVER, **LONG) as one, service(beside=one) as other:
        run = await one.start()
        await one.runs.drain(0)
        await one.journal.settle(30)
        again = await other.runs.retry(run.id, Principal(owner=run.owner))
        assert isinstance((await other.read(again))[-1], RunFinished)


async def test_a_drain_does_not_wait_forever_for_a_database_that_hangs() -> None:
    async with service(FOREVER, **LONG) as it:
        run = await it.start()
        it.memory.writing.stall()
        await it.runs.drain(0)
        assert run.log.finished
        assert now() < 5
