"""Transactions: atomic, within the time limit, and independent of cancelled callers."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.database import Database
from service.store.migrate import migrate
from service.store.schema import workers
from tests._support.runs.store_records import NOW


def _insert(name: str) -> sa.Insert:
    return sa.insert(workers).values(id=name, seen_at=NOW)


async def _add_worker(connection: AsyncConnection) -> None:
    await connection.execute(_insert("a"))


async def _read_names(connection: AsyncConnection) -> list[str]:
    return list(await connection.scalars(sa.select(workers.c.id).order_by(workers.c.id)))


def _count_busy(database: Database) -> int:
    """Return the number of connections in use."""
    engines = database._engines
    return sum(each.pool.checkedout() for each in (engines.writing, engines.reading))  # type: ignore[attr-defined]  # QueuePool's


async def _wait_until_idle(database: Database) -> None:
    while database._tasks or _count_busy(database):
        await asyncio.sleep(0.01)


async def test_a_failed_transaction_changes_nothing(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_insert("a"))
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert await database.read(_read_names) == []
    assert _count_busy(database) == 0


async def test_reading_cannot_change_anything(database: Database) -> None:
    with pytest.raises(StorageUnavailable):
        await database.read(_add_worker)
    assert await database.read(_read_names) == []


async def test_a_reader_sees_one_snapshot(database: Database) -> None:
    async def work(connection: AsyncConnection) -> tuple[list[str], list[str]]:
        before = await _read_names(connection)
        await database.write(_add_worker)
        return before, await _read_names(connection)

    assert await database.read(work) == ([], [])
    assert await database.read(_read_names) == ["a"]


async def test_a_writer_does_not_wait_for_a_reader(database: Database) -> None:
    reading, end = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> None:
        await _read_names(connection)
        reading.set()
        await end.wait()

    readers = [asyncio.create_task(database.read(slow)) for _ in range(2)]
    await reading.wait()
    await database.write(_add_worker)
    end.set()
    await asyncio.gather(*readers)


async def test_a_mistake_in_a_statement_is_a_bug(database: Database) -> None:
    with pytest.raises(DBAPIError):
        await database.read(lambda connection: connection.execute(sa.text("SELEC 1")))


async def test_a_broken_constraint_is_a_bug(database: Database) -> None:
    await database.write(_add_worker)
    with pytest.raises(DBAPIError):
        await database.write(_add_worker)
    assert await database.read(_read_names) == ["a"]


async def test_the_error_of_a_bug_contains_no_user_data(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(sa.insert(workers), [{"id": "my secret"}])

    with pytest.raises(DBAPIError) as caught:
        await database.write(work)
    assert "my secret" not in str(caught.value)


# --- cancelled callers ---


async def test_work_continues_after_its_caller_is_cancelled(database: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_insert("a"))
        begun.set()
        await go_on.wait()

    caller = asyncio.create_task(database.write(work))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await _wait_until_idle(database)
    assert await database.read(_read_names) == ["a"]


async def test_callers_cancelled_at_any_moment_leak_no_connection(database: Database) -> None:
    for number in range(60):
        work = database.write if number % 2 else database.read
        caller = asyncio.create_task(work(_read_names))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        caller.cancel()
    await _wait_until_idle(database)
    assert await database.read(_read_names) == []


async def test_a_caller_of_slow_work_times_out_and_the_work_is_undone(ready_url: str) -> None:
    database = Database(ready_url, timeout_s=0.3)
    await database.read(_read_names)
    go_on = asyncio.Event()

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_insert("a"))
        await go_on.wait()

    with pytest.raises(StorageUnavailable) as caught:
        await database.write(work)
    assert caught.value.reason == "slow"
    go_on.set()
    await _wait_until_idle(database)
    assert await database.read(_read_names) == []
    await database.close()


async def test_the_time_in_which_the_event_loop_is_busy_does_not_count(ready_url: str) -> None:
    database = Database(ready_url, timeout_s=0.3)
    await database.write(_read_names)
    writing = asyncio.create_task(database.write(_add_worker))
    for _ in range(2):
        await asyncio.sleep(0)
        time.sleep(0.4)  # noqa: ASYNC251  (the loop is to be blocked)
    await writing
    assert await database.read(_read_names) == ["a"]
    await database.close()


async def test_a_process_suspended_in_a_transaction_does_not_block_other_writers(
    postgres_ready: str,
) -> None:
    frozen, other = (Database(postgres_ready, timeout_s=0.3) for _ in range(2))
    await other.write(_add_worker)
    go_on = asyncio.Event()

    async def touch(connection: AsyncConnection) -> None:
        await connection.execute(sa.update(workers).values(seen_at=NOW))

    async def touch_and_freeze(connection: AsyncConnection) -> None:
        await touch(connection)
        await go_on.wait()

    with pytest.raises(StorageUnavailable):
        await frozen.write(touch_and_freeze)
    async with asyncio.timeout(30):
        while True:
            try:
                await other.write(touch)
                break
            except StorageUnavailable:
                await asyncio.sleep(0.1)
    go_on.set()
    await _wait_until_idle(frozen)
    assert await frozen.read(_read_names) == ["a"]
    for database in (frozen, other):
        await database.close()


async def test_more_readers_than_connections_wait_for_each_other(database: Database) -> None:
    assert await asyncio.gather(*(database.read(_read_names) for _ in range(40))) == [[]] * 40
    assert _count_busy(database) == 0


async def test_waiting_too_long_for_a_connection_is_an_error(ready_url: str) -> None:
    database = Database(ready_url, timeout_s=0.3)
    end = asyncio.Event()
    readers = [
        asyncio.create_task(database.read(lambda _connection: end.wait())) for _ in range(20)
    ]
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert {type(result) for result in results} == {StorageUnavailable}
    end.set()
    await _wait_until_idle(database)
    assert await database.read(_read_names) == []
    await database.close()


async def test_closing_waits_for_pending_work(ready_url: str) -> None:
    database = Database(ready_url)
    caller = asyncio.create_task(database.write(_add_worker))
    await asyncio.sleep(0)
    await database.close()
    await caller
    again = Database(ready_url)
    assert await again.read(_read_names) == ["a"]
    await again.close()


# --- tables ---


async def test_a_database_without_tables_is_refused_until_it_has_them(database_url: str) -> None:
    database = Database(database_url)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="run `python -m service migrate`") as caught:
            await database.read(_read_names)
        assert caught.value.reason == "schema"
    await migrate(database_url)
    assert await database.read(_read_names) == []
    await database.close()


async def test_times_are_in_utc_in_python_and_in_the_database(database: Database) -> None:
    await database.write(_add_worker)
    before = sa.select(workers.c.id).where(workers.c.seen_at < NOW + timedelta(microseconds=1))
    after = sa.select(workers.c.id).where(workers.c.seen_at < NOW)

    async def work(connection: AsyncConnection) -> tuple[object, ...]:
        seen = await connection.scalar(sa.select(workers.c.seen_at))
        return seen, await connection.scalar(before), await connection.scalar(after)

    assert await database.read(work) == (NOW, "a", None)


# --- work that takes long ---

# On either database it does not end within the time of a test.
_ENDLESS = sa.text("""
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000000000)
    SELECT count(*) FROM numbers
""")


async def _read_endlessly(connection: AsyncConnection) -> None:
    await connection.execute(_ENDLESS)


async def _wait_until_busy(database: Database, count: int) -> None:
    while _count_busy(database) < count:
        await asyncio.sleep(0.01)


async def test_long_work_leaves_connections_to_other_readers(database: Database) -> None:
    tasks = [asyncio.create_task(database.read_heavy(_read_endlessly, "search")) for _ in range(10)]
    await _wait_until_busy(database, 2)
    for _ in range(10):
        assert await database.read(_read_names) == []
        assert _count_busy(database) == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await _wait_until_idle(database)


async def test_long_work_is_stopped_when_its_caller_is_cancelled(database: Database) -> None:
    for _ in range(5):  # more than there are connections
        task = asyncio.create_task(database.read_heavy(_read_endlessly, "search"))
        await _wait_until_busy(database, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _wait_until_idle(database)
    assert await database.read_heavy(_read_names, "search") == []


async def test_long_work_is_stopped_at_the_time_limit(ready_url: str) -> None:
    database = Database(ready_url, timeout_s=0.3)
    for _ in range(3):
        with pytest.raises(StorageUnavailable) as caught:
            await database.read_heavy(_read_endlessly, "search")
        assert caught.value.reason == "slow"
        await _wait_until_idle(database)
    await database.close()


async def test_postgresql_stops_the_query_of_a_cancelled_caller(postgres_ready: str) -> None:
    database, observer = Database(postgres_ready), Database(postgres_ready)
    task = asyncio.create_task(database.read_heavy(_read_endlessly, "search"))
    while not await observer.read(_count_endless):
        await asyncio.sleep(0.01)
    task.cancel()
    while await observer.read(_count_endless):
        await asyncio.sleep(0.01)
    await database.close()
    await observer.close()


async def _count_endless(connection: AsyncConnection) -> int:
    """Return the number of queries without an end that are being executed."""
    statement = sa.text("""
        SELECT count(*) FROM pg_stat_activity
        WHERE state = 'active' AND query LIKE '%RECURSIVE%' AND pid <> pg_backend_pid()
        AND datname = current_database()
    """)
    return int(await connection.scalar(statement) or 0)


async def test_sqlite_stops_the_query_of_a_cancelled_caller(sqlite_ready: str) -> None:
    database = Database(sqlite_ready)
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    async def work(connection: AsyncConnection) -> None:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.create_function("count_call", 0, count)
        query = str(_ENDLESS).replace("n + 1", "n + min(1, count_call())")
        await connection.execute(sa.text(query))

    task = asyncio.create_task(database.read_heavy(work, "search"))
    while not calls:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await _wait_until_idle(database)
    before = calls
    await asyncio.sleep(0.2)
    assert calls == before
    await database.close()
