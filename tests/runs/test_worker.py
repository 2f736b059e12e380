"""A process's whole life: what it finds, what it does by the way, and what it leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StorageUnavailable
from service.events import Event, RunFinished
from service.runs.journal.spool import Spool
from service.runs.run import Run
from service.runs.worker import Worker
from service.settings import Settings
from service.store.journal.batch import Batch
from tests._support.llm.scripted import an_ask, now
from tests._support.runs.memory_store import Memory
from tests._support.runs.service import ME, Service, read, service
from tests._support.runs.store_records import make_run


def _process(of: Service, folder: Path) -> Worker:
    """Return a process of the service, with the store and the models of `of`."""
    settings = Settings(spool_dir=folder, database_url="sqlite:////dev/null")  # type: ignore[arg-type]
    return Worker(settings, of.memory.store(), of.tools)


async def _read(process: Worker, run: Run) -> list[Event]:
    with process.runs.reading(run) as reader:
        return await read(reader)


def _files(folder: Path) -> set[str]:
    return {path.suffix for path in folder.rglob("*") if path.is_file()}


def _folder(spools: Path) -> Path:
    """Return the folder of the one database there is."""
    (folder,) = spools.iterdir()
    return folder


# --- an end, and a new beginning ---


async def test_a_process_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    async with service() as it:
        process = _process(it, tmp_path)
        await process.start()
        await _read(process, await process.runs.start(an_ask()))
        await process.stop()
        assert _files(tmp_path) == set()
        assert it.memory.tables.seen == {}
        assert it.memory.the_run.state == "completed"


async def test_what_could_not_be_committed_is_committed_by_the_next_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with service() as it:
        process = _process(it, tmp_path)
        await process.start()
        run = await process.runs.start(an_ask())
        it.memory.writing.shut()
        events = await _read(process, run)
        with caplog.at_level(logging.ERROR):
            await process.stop()
        assert "stopped without the database" in caplog.text
        assert (it.memory.the_run.state, _files(tmp_path)) == ("running", {".a", ".b", ".lock"})
        it.memory.writing.reopen()

        successor = _process(it, tmp_path)
        await successor.start()
        again = await successor.runs.find(run.id, ME)
        assert await _read(successor, again) == events
        assert isinstance(events[-1], RunFinished)
        await successor.stop()
        assert _files(tmp_path) == set()


async def test_a_process_leaves_no_task_behind(tmp_path: Path) -> None:
    async with service() as it:
        before = asyncio.all_tasks()
        process = _process(it, tmp_path)
        await process.start()
        await _read(process, await process.runs.start(an_ask()))
        await process.stop()
        assert asyncio.all_tasks() == before


async def test_an_end_waits_only_so_long_for_the_database(tmp_path: Path) -> None:
    async with service() as it:
        process = _process(it, tmp_path)
        await process.start()
        run = await process.runs.start(an_ask())
        it.memory.writing.stall()
        await _read(process, run)
        before = now()
        await process.stop()
        assert now() - before < 10


# --- by the way ---


async def test_a_process_is_heard_of(tmp_path: Path) -> None:
    async with service() as it:
        process = _process(it, tmp_path)
        await process.start()
        assert len(it.memory.tables.seen) == 1
        it.memory.age(60)
        (before,) = it.memory.tables.seen.values()
        await asyncio.sleep(6)
        assert next(iter(it.memory.tables.seen.values())) > before
        await process.stop()


async def test_expired_events_are_removed_by_the_way(tmp_path: Path) -> None:
    async with service(limits={"retention_s": 30}) as it:
        run = await it.finish()
        it.memory.age(31)
        process = _process(it, tmp_path)
        await process.start()
        await asyncio.sleep(61)
        assert (await it.stored(run)).events_expired
        await process.stop()


async def test_a_run_left_by_a_process_that_died_meanwhile_is_ended(tmp_path: Path) -> None:
    async with service() as it:
        process = _process(it, tmp_path)
        await process.start()
        dead = make_run(owner=ME, worker="worker_dead")
        await it.memory.journal.write(Batch([dead]))
        spool = Spool(_folder(tmp_path), "worker_dead")
        spool.open()
        await asyncio.sleep(6)
        assert it.memory.the_run.state == "running"
        spool.abandon()
        await asyncio.sleep(6)
        assert it.memory.the_run.state == "interrupted"
        await process.stop()


TROUBLES: dict[str, Callable[[Memory], None]] = {
    "refuses": lambda memory: memory.writing.shut(),
    "hangs": lambda memory: memory.writing.stall(),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_questions_are_refused_at_once_when_the_database_has_been_gone_for_a_while(
    trouble: str, tmp_path: Path
) -> None:
    async with service() as it:
        process = _process(it, tmp_path)
        await process.start()
        TROUBLES[trouble](it.memory)
        await asyncio.sleep(20)  # nobody asks anything
        before = now()
        with pytest.raises(StorageUnavailable):
            await process.runs.start(an_ask())
        assert now() == before
        it.memory.writing.reopen()
        await asyncio.sleep(10)
        assert isinstance(
            (await _read(process, await process.runs.start(an_ask())))[-1], RunFinished
        )
        await process.stop()


async def test_a_bug_in_the_upkeep_does_not_end_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with service() as it:
        process = _process(it, tmp_path)
        await process.start()
        it.memory.tables.seen = None  # type: ignore[assignment]
        with caplog.at_level(logging.ERROR):
            await asyncio.sleep(10)
        assert "unexpected error in maintenance" in caplog.text
        it.memory.tables.seen = {}
        await asyncio.sleep(10)
        assert len(it.memory.tables.seen) == 1
        await process.stop()
