"""Failures of a database: reported in time, without data loss, and followed by a recovery."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it has no stubs
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.migrate import migrate
from service.store.runs import RunStore
from service.store.schema import runs
from service.store.scope import ALL_OWNERS
from tests._support.runs.store_records import ME, make_run, make_segment
from tests._support.servers.databases import Postgres

TIMEOUT_S = 0.5
HANGS_S = 20.0  # nothing but a hang takes longer


async def _count_runs(connection: AsyncConnection) -> int:
    return await connection.scalar(sa.select(sa.func.count()).select_from(runs)) or 0


async def _catch_unavailable(database: Database, *, reads: bool = False) -> StorageUnavailable:
    work = (
        database.read(_count_runs, access=ALL_OWNERS)
        if reads
        else JournalWriter(database).write(Batch([make_run()]))
    )
    async with asyncio.timeout(TIMEOUT_S + HANGS_S):
        with pytest.raises(StorageUnavailable) as caught:
            await work
    return caught.value


async def _wait_for_recovery(database: Database) -> None:
    """Wait until a run can be written again."""
    async with asyncio.timeout(HANGS_S):
        while True:
            try:
                await JournalWriter(database).write(Batch([make_run()]))
            except StorageUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


# --- SQLite ---

_LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def _lock(path: str) -> Iterator[None]:
    """Lock the file from another process."""
    command = [sys.executable, "-c", _LOCKER, path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        yield


async def test_a_locked_file_can_be_read_and_is_written_to_once_it_is_free(
    sqlite_ready: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = sqlite_ready.removeprefix("sqlite:///")
    database = Database(sqlite_ready, timeout_s=TIMEOUT_S)
    with _lock(path):
        for _ in range(3):
            assert (await _catch_unavailable(database)).reason == "locked"
        assert await database.read(_count_runs, access=ALL_OWNERS) == 0
    await _wait_for_recovery(database)
    assert await database.read(_count_runs, access=ALL_OWNERS) == 1
    # Once each, regardless of the number of attempts.
    assert [record.getMessage() for record in caplog.records if "work" in record.getMessage()] == [
        "writing does not work: The database is locked by another program. (database is locked)",
        "writing works again",
    ]
    await database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False)
    if mounted.returncode != 0:
        reason = f"cannot mount a file system: {mounted.stderr.decode().strip()}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(f"NOT TESTED, {reason}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_refuses_writes_and_preserves_existing_data(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/service.db"
    await migrate(url)
    database = Database(url)
    journal = JournalWriter(database)
    run = make_run()
    await journal.write(Batch([run]))
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (_free_bytes(small_disk) - 100_000))
    written = []

    async def fill() -> None:
        for seq in count(1):
            await journal.write(Batch(segments=[make_segment(run, seq, seq, b"x" * 20_000)]))
            written.append(seq)

    with pytest.raises(StorageUnavailable) as caught:
        await fill()
    assert caught.value.reason == "full"
    stored = await RunStore(database).list_segments(ME, run.run_id)
    assert [each.last_seq for each in stored] == written
    filler.unlink()
    await journal.write(Batch(segments=[make_segment(run, 900, 900)]))
    assert len(await RunStore(database).list_segments(ME, run.run_id)) == len(written) + 1
    await database.close()


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_bsize


async def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nowhere/service.db")
    assert (await _catch_unavailable(database, reads=True)).reason == "down"
    await database.close()
    # After a failure to open a file, the driver's thread calls this loop once more.
    while any("_connection_worker" in thread.name for thread in threading.enumerate()):
        await asyncio.sleep(0.01)


# --- PostgreSQL ---


async def _count_connections(url: str) -> int:
    """Return the number of connections of the service to this database."""
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'llm-sse-service'"
        )
    finally:
        await connection.close()
    return count


async def test_a_suspended_server_times_out_and_recovers_without_leaks(
    postgres: Postgres, postgres_ready: str
) -> None:
    database = Database(postgres_ready, timeout_s=TIMEOUT_S)
    await asyncio.gather(*(database.read(_count_runs) for _ in range(10)))
    postgres.stop_the_world()
    try:
        for reads in (True, False, True, False):
            assert (await _catch_unavailable(database, reads=reads)).reason == "slow"
        await asyncio.gather(*(_catch_unavailable(database, reads=bool(n % 2)) for n in range(30)))
    finally:
        postgres.resume()
    await _wait_for_recovery(database)
    async with asyncio.timeout(HANGS_S):
        while database._tasks:
            await asyncio.sleep(0.05)
        while await _count_connections(postgres_ready) > 7:
            await asyncio.sleep(0.05)
    await database.close()
    async with asyncio.timeout(HANGS_S):
        while await _count_connections(postgres_ready):
            await asyncio.sleep(0.05)


async def test_a_suspended_server_does_not_prevent_closing(
    postgres: Postgres, postgres_ready: str
) -> None:
    database = Database(postgres_ready, timeout_s=TIMEOUT_S)
    await asyncio.gather(*(database.read(_count_runs) for _ in range(10)))
    postgres.stop_the_world()
    try:
        async with asyncio.timeout(HANGS_S):
            await database.close()
    finally:
        postgres.resume()


async def test_a_restarted_server_is_used_again(postgres: Postgres, postgres_ready: str) -> None:
    database = Database(postgres_ready)
    await asyncio.gather(*(database.read(_count_runs) for _ in range(10)))
    postgres.restart()
    # On the first attempt: connections that the server has closed are replaced.
    await JournalWriter(database).write(Batch([make_run()]))
    assert await database.read(_count_runs, access=ALL_OWNERS) == 1
    await database.close()


async def test_a_server_that_is_down_at_first_is_used_once_it_starts(
    postgres: Postgres, postgres_ready: str
) -> None:
    postgres.stop()
    try:
        database = Database(postgres_ready, timeout_s=TIMEOUT_S)
        for reads in (True, False):
            assert (await _catch_unavailable(database, reads=reads)).reason == "down"
    finally:
        postgres.start()
    await _wait_for_recovery(database)
    await database.close()


async def test_waiting_for_a_locked_row_times_out(
    postgres_ready: str,
) -> None:
    database = Database(postgres_ready, timeout_s=TIMEOUT_S)
    run = make_run()
    await JournalWriter(database).write(Batch([run]))
    holder = await asyncpg.connect(postgres_ready)
    async with holder.transaction():
        await holder.execute("LOCK TABLE runs")
        assert (await _catch_unavailable(database)).reason == "slow"
    await holder.close()
    await _wait_for_recovery(database)
    await database.close()


async def test_a_wrong_password_is_reported_without_the_password(postgres_ready: str) -> None:
    url = postgres_ready.replace("service@", "nobody_such:s3cret-word@")
    database = Database(url)
    refusal = await _catch_unavailable(database, reads=True)
    assert refusal.reason == "down"
    assert "s3cret-word" not in f"{refusal} {refusal.__cause__!r}"
    await database.close()
