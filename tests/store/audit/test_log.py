"""The audit log: one chain of all writers, and rows that cannot be changed."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.audit.entries import GENESIS_HASH, AuditEntry, AuditRow
from service.store.audit.log import AuditLog, append
from service.store.audit.tables import audit, audit_head, make_row
from service.store.database import Database


def _entry(target: str) -> AuditEntry:
    return AuditEntry(action="key.created", actor="user_1", target=target, details={"name": "ü\0"})


async def _read(database: Database) -> list[AuditRow]:
    rows = await database.fetch_all(sa.select(audit).order_by(audit.c.number))
    return [make_row(row) for row in rows]


async def test_concurrent_writers_of_several_processes_append_to_one_chain(
    ready_url: str,
) -> None:
    databases = [Database(ready_url) for _ in range(3)]
    logs = [AuditLog(each) for each in databases]
    await asyncio.gather(
        *(logs[n % 3].append([_entry(f"{n}-{part}") for part in range(2)]) for n in range(24))
    )
    rows = await _read(databases[0])
    for each in databases:
        await each.close()
    assert [row.number for row in rows] == list(range(1, 49))
    assert [row.previous_hash for row in rows] == [GENESIS_HASH, *(row.hash for row in rows[:-1])]
    assert all(row.calculate_hash() == row.hash for row in rows)


async def test_an_entry_is_stored_only_together_with_its_change(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await append([_entry("key")], connection)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert await _read(database) == []


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(audit).values(actor="another"),
        sa.delete(audit),
        sa.update(audit_head).values(number=0, hash=GENESIS_HASH),
        sa.delete(audit_head),
    ],
    ids=["change", "delete", "rewind", "lose the head"],
)
async def test_the_database_refuses_changes_of_the_audit_log(
    database: Database, statement: sa.UpdateBase
) -> None:
    await AuditLog(database).append([_entry("key")])
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        await database.execute(statement)
    assert [row.target for row in await _read(database)] == ["key"]
