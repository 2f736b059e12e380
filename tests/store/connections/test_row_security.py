"""Row-level security of PostgreSQL: statements that omit their owner see nothing of others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.connections.row_security import bypasses_policies
from service.store.database import Database
from service.store.evaluations.cache import EvaluationCache
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.lists.paging import count_rows
from service.store.runs import RunStore
from service.store.schema import metadata, runs
from service.store.scope import ALL_OWNERS, Access, Scope
from tests._support.runs.store_records import (
    ME,
    NOW,
    OTHER_OWNER,
    make_agent_answer,
    make_key,
    make_run,
    make_run_end,
    make_segment,
)
from tests._support.servers.databases import Postgres

OWNED = sorted(each.name for each in metadata.tables.values() if "owner" in each.columns)


@pytest.fixture
def store_kind() -> str:
    """Only PostgreSQL has row-level security."""
    return "postgresql"


async def _store_runs(database: Database) -> None:
    """Store a running and an ended run of each of two owners, with rows in every table."""
    writer = JournalWriter(database)
    for owner in (ME, OTHER_OWNER):
        ended, running = (
            make_run(owner=owner, key=make_key(name), conversation=f"conv_{name}")
            for name in ("ended", "running")
        )
        answer, events = make_agent_answer(ended), make_segment(ended, 1, 9)
        await writer.write(Batch([ended, running], [answer], [events], [make_run_end(ended)]))
        await RunStore(database).request_stop(owner, running.run_id)
        await EvaluationCache(database).add(owner, "key", ended.run_id, NOW)


async def _read_owners(database: Database, table: str, access: Access) -> Sequence[str]:
    async def work(connection: AsyncConnection) -> Sequence[str]:
        rows = await connection.execute(sa.text(f"SELECT owner FROM {table}"))
        return sorted({row.owner for row in rows})

    return await database.read(work, access=access)


@pytest.mark.parametrize("table", [name for name in OWNED if name not in ("messages",)])
async def test_a_query_without_a_condition_sees_the_rows_of_its_transaction_only(
    database: Database, table: str
) -> None:
    await _store_runs(database)
    if await _read_owners(database, table, ALL_OWNERS):
        assert await _read_owners(database, table, None) == []
        assert await _read_owners(database, table, Scope(ME)) == [ME]
        assert await _read_owners(database, table, Scope("a third")) == []
        assert await _read_owners(database, table, ALL_OWNERS) == sorted([ME, OTHER_OWNER])


async def test_every_table_with_an_owner_has_policies_that_bind_its_own_role(
    database: Database,
) -> None:
    rows = await database.fetch_all(
        sa.text("""
            SELECT relname FROM pg_class
            WHERE relrowsecurity AND relforcerowsecurity AND relkind = 'r'
        """)
    )
    assert sorted(row.relname for row in rows) == sorted([*OWNED, "counts"])


async def test_a_change_without_a_condition_affects_the_owner_only(database: Database) -> None:
    await _store_runs(database)
    taken = sa.update(runs).values(answer="taken")
    assert await database.execute(taken, access=Scope(ME)) == 2
    assert await database.execute(taken) == 0
    assert await database.execute(sa.delete(runs)) == 0
    assert await _read_owners(database, "runs", ALL_OWNERS) == sorted([ME, OTHER_OWNER])


async def test_a_row_of_another_owner_cannot_be_written(database: Database) -> None:
    statement = Scope(OTHER_OWNER).insert(
        metadata.tables["idempotency_keys"], key="k", fingerprint=b"", run_id="r", expires_at=None
    )
    with pytest.raises(sa.exc.DBAPIError, match="row-level security"):
        await database.execute(statement, access=Scope(ME))


async def test_totals_do_not_count_rows_of_others(database: Database) -> None:
    await _store_runs(database)

    async def work(connection: AsyncConnection) -> int:
        return await count_rows(connection, Scope(OTHER_OWNER), "runs")

    assert await database.read(work, access=Scope(ME)) == 0
    assert await database.read(work, access=Scope(OTHER_OWNER)) == 2


@pytest.mark.parametrize("owner", ["it's", "'; RESET ROLE; --", "\\", "ü€", "a\0b", "on", "%s $1"])
async def test_the_name_of_an_owner_is_only_data(database: Database, owner: str) -> None:
    await JournalWriter(database).write(Batch([make_run(owner=owner)]))
    await JournalWriter(database).write(Batch([make_run(owner=OTHER_OWNER)]))
    assert await _read_owners(database, "runs", Scope(owner)) == [owner.replace("\0", "\ufffd")]


async def test_no_transaction_inherits_the_access_of_an_earlier_one(database: Database) -> None:
    """Readers of two owners, of all and of none share four connections."""
    await _store_runs(database)
    cases: list[tuple[Access, list[str]]] = [
        (Scope(ME), [ME]),
        (None, []),
        (Scope(OTHER_OWNER), [OTHER_OWNER]),
        (ALL_OWNERS, sorted([ME, OTHER_OWNER])),
    ]

    async def interrupt(connection: AsyncConnection) -> Any:
        await connection.execute(sa.text("SELECT 1 / 0"))

    async def check(number: int) -> bool:
        access, expected = cases[number * 7 % 4]
        if number % 5 == 0:
            with pytest.raises(sa.exc.DBAPIError):
                await database.read(interrupt, access=access)
        return await _read_owners(database, "runs", access) == expected

    assert all(await asyncio.gather(*map(check, range(120))))


async def test_a_role_that_bypasses_row_security_is_recognized(
    database: Database, postgres: Postgres, postgres_ready: str
) -> None:
    assert not await database.read(bypasses_policies)
    superuser = Database(postgres.url(postgres_ready.rpartition("/")[2]))
    assert await superuser.read(bypasses_policies)
    await superuser.close()


async def test_sqlite_has_no_second_barrier(sqlite_ready: str) -> None:
    database = Database(sqlite_ready)
    assert await database.read(bypasses_policies)
    await database.close()
