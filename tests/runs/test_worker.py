"""A worker from start to stop: recovery, background maintenance, and the last commits."""

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

DATABASE = "service.db"


def _make_worker(of: Service, folder: Path) -> Worker:
    """Return a worker with the store and the models of `of`."""
    database = f"sqlite:///{folder}/{DATABASE}"  # only the lock beside it is created
    settings = Settings(spool_dir=folder, database_url=database)  # type: ignore[arg-type]
    return Worker(settings, of.memory.store(), of.tools)


async def _read(worker: Worker, run: Run) -> list[Event]:
    with worker.runs.reading(run) as reader:
        return await read(reader)


def _files(folder: Path) -> set[str]:
    return {path.suffix for path in folder.rglob("*") if path.is_file()}


def _folder(spools: Path) -> Path:
    """Return the spool folder of the only database."""
    (folder,) = (path for path in spools.iterdir() if not path.name.startswith(DATABASE))
    return folder


# --- start and stop ---


async def test_a_stopped_worker_leaves_nothing_behind(tmp_path: Path) -> None:
    async with service() as it:
        worker = _make_worker(it, tmp_path)
        await worker.start()
        await _read(worker, await worker.runs.start(an_ask()))
        await worker.stop()
        assert _files(tmp_path) == set()
        assert it.memory.tables.beats == {}
        assert it.memory.the_run.state == "completed"


async def test_events_that_could_not_be_committed_are_committed_by_the_next_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with service() as it:
        worker = _make_worker(it, tmp_path)
        await worker.start()
        run = await worker.runs.start(an_ask())
        it.memory.writing.shut()
        events = await _read(worker, run)
        with caplog.at_level(logging.ERROR):
            await worker.stop()
        assert "stopped without the database" in caplog.text
        assert (it.memory.the_run.state, _files(tmp_path)) == ("running", {".a", ".b", ".lock"})
        it.memory.writing.reopen()

        successor = _make_worker(it, tmp_path)
        await successor.start()
        again = await successor.runs.find(run.id, ME)
        assert await _read(successor, again) == events
        assert isinstance(events[-1], RunFinished)
        await successor.stop()
        assert _files(tmp_path) == set()


async def test_a_stopped_worker_leaves_no_task_behind(tmp_path: Path) -> None:
    async with service() as it:
        before = asyncio.all_tasks()
        worker = _make_worker(it, tmp_path)
        await worker.start()
        await _read(worker, await worker.runs.start(an_ask()))
        await worker.stop()
        assert asyncio.all_tasks() == before


async def test_stopping_a_worker_waits_for_the_database_with_a_limit(tmp_path: Path) -> None:
    async with service() as it:
        worker = _make_worker(it, tmp_path)
        await worker.start()
        run = await worker.runs.start(an_ask())
        it.memory.writing.stall()
        await _read(worker, run)
        before = now()
        await worker.stop()
        assert now() - before < 10


# --- background maintenance ---


async def test_a_worker_sends_heartbeats(tmp_path: Path) -> None:
    async with service() as it:
        worker = _make_worker(it, tmp_path)
        await worker.start()
        assert len(it.memory.tables.beats) == 1
        (before,) = it.memory.tables.beats.values()
        await asyncio.sleep(6)
        (after,) = it.memory.tables.beats.values()
        assert (before.beat, after.beat) == (1, 2)
        await worker.stop()


async def test_expired_events_are_deleted_in_the_background(tmp_path: Path) -> None:
    async with service(limits={"retention_s": 30}) as it:
        run = await it.finish()
        it.memory.age(31)
        worker = _make_worker(it, tmp_path)
        await worker.start()
        await asyncio.sleep(61)
        assert (await it.stored(run)).events_expired
        await worker.stop()


async def test_a_run_of_a_worker_that_was_killed_is_ended(tmp_path: Path) -> None:
    async with service() as it:
        worker = _make_worker(it, tmp_path)
        await worker.start()
        killed = make_run(owner=ME, worker="worker_killed")
        await it.memory.journal.write(Batch([killed]))
        spool = Spool(_folder(tmp_path), "worker_killed")
        spool.open()
        await asyncio.sleep(6)
        assert it.memory.the_run.state == "running"
        spool.abandon()
        await asyncio.sleep(6)
        assert it.memory.the_run.state == "interrupted"
        await worker.stop()


TROUBLES: dict[str, Callable[[Memory], None]] = {
    "refuses": lambda memory: memory.writing.shut(),
    "hangs": lambda memory: memory.writing.stall(),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_questions_are_refused_at_once_after_a_long_outage(
    trouble: str, tmp_path: Path
) -> None:
    async with service() as it:
        worker = _make_worker(it, tmp_path)
        await worker.start()
        TROUBLES[trouble](it.memory)
        await asyncio.sleep(20)  # without a request
        before = now()
        with pytest.raises(StorageUnavailable):
            await worker.runs.start(an_ask())
        assert now() == before
        it.memory.writing.reopen()
        await asyncio.sleep(10)
        assert isinstance((await _read(worker, await worker.runs.start(an_ask())))[-1], RunFinished)
        await worker.stop()


async def test_maintenance_continues_after_an_unexpected_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with service() as it:
        worker = _make_worker(it, tmp_path)
        await worker.start()
        it.memory.tables.beats = None  # type: ignore[assignment]
        with caplog.at_level(logging.ERROR):
            await asyncio.sleep(10)
        assert "unexpected error in maintenance" in caplog.text
        it.memory.tables.beats = {}
        await asyncio.sleep(10)
        assert len(it.memory.tables.beats) == 1
        await worker.stop()
