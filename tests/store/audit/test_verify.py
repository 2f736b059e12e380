"""Verification of the audit log after every kind of tampering, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.audit.entries import AuditEntry, ChainHead, chain
from service.store.audit.log import AuditFilter, AuditLog
from service.store.audit.tables import audit, audit_head
from service.store.database import Database

START = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)


def _entry(number: int) -> AuditEntry:
    return AuditEntry(
        action="key.created" if number % 2 else "login.succeeded",
        actor=f"user_{number % 3}",
        target=f"key_{number}",
        details={"name": "schlüssel", "scopes": ("run", "read")},
        at=START + timedelta(minutes=number),
    )


async def _fill(database: Database) -> AuditLog:
    log = AuditLog(database)
    await log.append([_entry(number) for number in range(1, 8)])
    return log


async def _tamper(database: Database, *statements: sa.Executable) -> None:
    """Change the tables as someone does who can remove the triggers."""

    async def work(connection: AsyncConnection) -> None:
        if database.dialect == "postgresql":
            for table in ("audit", "audit_head"):
                await connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        else:
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'"
            for (name,) in (await connection.exec_driver_sql(query)).all():
                await connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in statements:
            await connection.execute(statement)

    await database.write(work)


def _row(number: int) -> sa.ColumnElement[bool]:
    return audit.c.number == number


_FORGED = chain(_entry(99), ChainHead(3, "f" * 64))
_SWAP = [
    sa.update(audit).where(_row(3)).values(number=1_003),
    sa.update(audit).where(_row(4)).values(number=3),
    sa.update(audit).where(_row(1_003)).values(number=4),
]
_TAMPERINGS: dict[str, tuple[Sequence[sa.Executable], set[str]]] = {
    "nothing": ([], set()),
    "a column": ([sa.update(audit).where(_row(3)).values(actor="another")], {"changed"}),
    "the time": (
        [sa.update(audit).where(_row(3)).values(at=START)],
        {"changed"},
    ),
    "details": ([sa.update(audit).where(_row(3)).values(details="{}")], {"changed"}),
    "a column and its hash": (
        [sa.delete(audit).where(_row(4)), sa.insert(audit).values(_FORGED)],
        {"broken_link"},
    ),
    "a row in the middle": ([sa.delete(audit).where(_row(3))], {"missing"}),
    "the first row": ([sa.delete(audit).where(_row(1))], {"missing"}),
    "the last rows": ([sa.delete(audit).where(audit.c.number > 5)], {"end_missing"}),
    "all rows": ([sa.delete(audit)], {"end_missing"}),
    "the order": (_SWAP, {"broken_link", "changed"}),
    "a row before the first": (
        [sa.insert(audit).values(chain(_entry(99), ChainHead(-1)))],
        {"inserted"},
    ),
    "a row after the last": (
        [sa.insert(audit).values(chain(_entry(99), ChainHead(7, "f" * 64)))],
        {"broken_link", "beyond_end"},
    ),
    "the head": ([sa.delete(audit_head)], {"beyond_end"}),
}


@pytest.mark.parametrize("what", _TAMPERINGS)
async def test_tampering_is_found(database: Database, what: str) -> None:
    statements, kinds = _TAMPERINGS[what]
    log = await _fill(database)
    await _tamper(database, *statements)
    report = await log.verify()
    assert {fault.kind for fault in report.faults} == kinds
    assert all(fault.sentence.endswith(".") for fault in report.faults)


async def test_a_log_that_was_rewritten_as_a_whole_lacks_a_hash_that_was_printed(
    database: Database,
) -> None:
    log = await _fill(database)
    printed = (await log.verify()).head.hash
    assert (await log.verify(printed)).faults == []
    head, rows = ChainHead(), []
    for number in range(1, 6):
        rows.append(chain(_entry(number + 50), head))
        head = ChainHead(number, str(rows[-1]["hash"]))
    renewed = sa.update(audit_head).values(asdict(head))
    await _tamper(database, sa.delete(audit), sa.insert(audit).values(rows), renewed)
    assert (await log.verify()).faults == []
    assert [fault.kind for fault in (await log.verify(printed)).faults] == ["unknown_hash"]


async def test_a_log_longer_than_one_query_is_verified(database: Database) -> None:
    log = AuditLog(database)
    await log.append([_entry(number) for number in range(2_500)])
    report = await log.verify()
    assert (report.rows, report.head.number, report.faults) == (2_500, 2_500, [])
    await _tamper(database, sa.delete(audit).where(_row(2_001)))
    assert [fault.number for fault in (await log.verify()).faults] == [2_002]


async def test_an_empty_log_has_no_faults(database: Database) -> None:
    report = await AuditLog(database).verify()
    assert (report.rows, report.faults) == (0, [])


@pytest.mark.parametrize(
    ("filter_", "numbers"),
    [
        (AuditFilter(), [7, 6, 5, 4, 3, 2, 1]),
        (AuditFilter(actor="user_1"), [7, 4, 1]),
        (AuditFilter(action="login.succeeded"), [6, 4, 2]),
        (AuditFilter(actor="user_1", action="login.succeeded"), [4]),
        (AuditFilter(since=START + timedelta(minutes=5)), [7, 6, 5]),
        (AuditFilter(until=START + timedelta(minutes=2)), [1]),
        (AuditFilter(actor="nobody"), []),
    ],
)
async def test_rows_are_listed_by_time_actor_and_action(
    database: Database, filter_: AuditFilter, numbers: list[int]
) -> None:
    log = await _fill(database)
    assert [row.number for row in await log.list_rows(filter_, 100)] == numbers
    first = await log.list_rows(filter_, 2)
    if first:
        rest = await log.list_rows(filter_, 100, before=first[-1].number)
        assert [row.number for row in [*first, *rest]] == numbers
