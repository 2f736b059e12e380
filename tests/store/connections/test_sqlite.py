"""SQLite connections: deferred statements, rollbacks and failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.connections.sqlite import SqliteConnection, connect
from service.store.database import Database
from service.store.schema import workers
from tests._support.runs.store_records import NOW


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[SqliteConnection]:
    opened = connect(str(tmp_path / "some.db"), isolation_level=None)
    await opened
    await opened.cursor().execute("CREATE TABLE words (word TEXT NOT NULL)")
    yield opened
    await opened.close()


async def _insert(connection: SqliteConnection, *words: str | None) -> None:
    rows = [(word,) for word in words]
    await connection.cursor().executemany("INSERT INTO words VALUES (?)", rows)


async def _read_words(connection: SqliteConnection) -> list[str]:
    cursor = await connection.cursor().execute("SELECT word FROM words ORDER BY rowid")
    return [word for (word,) in await cursor.fetchall()]


async def _begin(connection: SqliteConnection) -> None:
    await connection.cursor().execute("BEGIN IMMEDIATE")


async def test_statements_without_a_result_are_deferred_until_the_commit(
    connection: SqliteConnection,
) -> None:
    await _begin(connection)
    await _insert(connection, "a")
    assert not connection.in_transaction
    await connection.commit()
    assert await _read_words(connection) == ["a"]


async def test_a_query_sees_deferred_statements(connection: SqliteConnection) -> None:
    await _begin(connection)
    await _insert(connection, "a", "b")
    await _insert(connection, "c")
    assert await _read_words(connection) == ["a", "b", "c"]


async def test_a_rollback_discards_deferred_statements(connection: SqliteConnection) -> None:
    await _begin(connection)
    await _insert(connection, "a")
    await connection.rollback()
    await _begin(connection)
    await _insert(connection, "b")
    assert await _read_words(connection) == ["b"]
    await connection.rollback()
    assert await _read_words(connection) == []


async def test_statements_after_a_failed_one_are_not_executed(
    database_of_workers: Database,
) -> None:
    async def work(connection: AsyncConnection) -> None:
        for name in ("a", None, "b"):
            await connection.execute(sa.insert(workers), [{"id": name, "seen_at": NOW}])

    with pytest.raises(IntegrityError):
        await database_of_workers.write(work)
    assert await database_of_workers.read(_read_names) == []


async def test_a_connection_works_after_a_failed_statement(database_of_workers: Database) -> None:
    async def work(connection: AsyncConnection, name: str | None) -> None:
        await connection.execute(sa.insert(workers), [{"id": name, "seen_at": NOW}])

    with pytest.raises(IntegrityError):
        await database_of_workers.write(lambda connection: work(connection, None))
    await database_of_workers.write(lambda connection: work(connection, "a"))
    assert await database_of_workers.read(_read_names) == ["a"]


@pytest.fixture
async def database_of_workers(sqlite_ready: str) -> AsyncIterator[Database]:
    opened = Database(sqlite_ready)
    yield opened
    await opened.close()


async def _read_names(connection: AsyncConnection) -> list[str]:
    return list(await connection.scalars(sa.select(workers.c.id).order_by(workers.c.id)))
