"""Transactions without pauses: on both databases they do what SQLAlchemy does, all or nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.connections.transaction import Transaction
from service.store.database import Database
from service.store.schema import workers
from tests._support.runs.store_records import NOW

_INSERT = sa.insert(workers)
_BY_IDS = sa.select(workers).where(workers.c.id.in_(bindparam("ids", expanding=True)))
_BY_KEYS = sa.select(workers.c.id).where(
    sa.tuple_(workers.c.id, workers.c.seen_at).in_(bindparam("keys", expanding=True))
)
_MOVE = (
    sa.update(workers)
    .where(workers.c.beat == 0, workers.c.id == bindparam("of_id"))
    .values(beat=7, seen_at=bindparam("at"))
)


def _make_rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"w{number:03}", "seen_at": NOW} for number in range(count)]


async def _read(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
    return (await connection.execute(sa.select(workers).order_by(workers.c.id))).all()


async def _insert(database: Database, rows: Sequence[dict[str, Any]]) -> None:
    await database.transact(lambda transaction: transaction.execute_many(_INSERT, rows))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 16, 21, 64])
async def test_any_number_of_rows_is_inserted_once(database: Database, count: int) -> None:
    await _insert(database, _make_rows(count))
    assert [row.id for row in await database.read(_read)] == [
        each["id"] for each in _make_rows(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
async def test_a_query_finds_the_rows_of_a_list_of_any_length(
    database: Database, count: int
) -> None:
    await _insert(database, _make_rows(9))
    ids = [each["id"] for each in _make_rows(count)]
    found = await database.transact(lambda one: one.fetch_all(_BY_IDS, {"ids": ids}))
    assert sorted((row.id, row.seen_at, row.lease_s) for row in found) == [
        (each, NOW, None) for each in ids
    ]


async def test_a_query_finds_the_rows_of_a_list_of_tuples(database: Database) -> None:
    await _insert(database, _make_rows(9))
    keys = [("w001", NOW), ("w002", NOW + timedelta(1)), ("w003", NOW)]
    found = await database.transact(lambda one: one.fetch_all(_BY_KEYS, {"keys": keys}))
    assert sorted(row.id for row in found) == ["w001", "w003"]


async def test_values_are_stored_as_sqlalchemy_stores_them(database: Database) -> None:
    at = datetime(2026, 3, 1, 1, 30, 0, 5, timezone(timedelta(hours=3)))
    awkward = [{"id": "a\0b \ud800", "seen_at": at}, {"id": "c", "seen_at": at}]
    await _insert(database, awkward)
    first = [tuple(row) for row in await database.read(_read)]
    await database.write(lambda connection: connection.execute(sa.delete(workers)))
    await database.write(lambda connection: connection.execute(_INSERT, awkward))
    assert first == [tuple(row) for row in await database.read(_read)]
    assert first[0][:2] == ("a\ufffdb \ufffd", at.astimezone(UTC))


async def test_an_update_has_the_values_of_each_row_and_those_of_its_text(
    database: Database,
) -> None:
    await _insert(database, _make_rows(3))
    later = NOW + timedelta(hours=1)
    moves = [{"of_id": "w000", "at": NOW}, {"of_id": "w002", "at": later}]
    await database.transact(lambda transaction: transaction.execute_many(_MOVE, moves))
    found = [(row.id, row.beat, row.seen_at) for row in await database.read(_read)]
    assert found == [("w000", 7, NOW), ("w001", 0, NOW), ("w002", 7, later)]


async def test_a_failed_transaction_changes_nothing_and_the_next_one_works(
    database: Database,
) -> None:
    def fail(transaction: Transaction) -> None:
        transaction.execute_many(_INSERT, _make_rows(5))
        raise LookupError

    with pytest.raises(LookupError):
        await database.transact(fail)
    assert await database.read(_read) == []
    await _insert(database, _make_rows(1))
    assert len(await database.read(_read)) == 1


async def test_a_broken_constraint_is_a_bug_without_user_data(database: Database) -> None:
    secret = [{"id": "my secret", "seen_at": NOW}]
    await _insert(database, secret)
    with pytest.raises((sa.exc.DBAPIError, sqlite3.Error)) as caught:
        await _insert(database, secret)
    assert "my secret" not in str(caught.value)
    assert len(await database.read(_read)) == 1


async def test_work_whose_caller_was_refused_is_undone(sqlite_ready: str) -> None:
    database = Database(sqlite_ready, timeout_s=0.2)
    await _insert(database, _make_rows(1))

    def slow(transaction: Transaction) -> None:
        transaction.execute_many(_INSERT, [{"id": "late", "seen_at": NOW}])
        time.sleep(0.6)

    with pytest.raises(StorageUnavailable) as caught:
        await database.transact(slow)
    assert caught.value.reason == "slow"
    while database._tasks:
        await asyncio.sleep(0.01)
    assert [row.id for row in await database.read(_read)] == ["w000"]
    await database.close()


async def test_many_rows_are_few_statements_of_sqlite(sqlite_ready: str) -> None:
    database = Database(sqlite_ready)
    await _insert(database, _make_rows(1))
    executed: list[str] = []
    async with database._engines.writing.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.call(lambda raw: raw.set_trace_callback(executed.append))
    rows = [{"id": f"x{number}", "seen_at": NOW} for number in range(64)]
    await _insert(database, rows)
    assert [each.split()[0] for each in executed] == ["BEGIN", *["INSERT"] * 4, "COMMIT"]
    await database.close()
