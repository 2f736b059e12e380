"""Reads and appends of the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.audit.entries import AuditEntry, AuditRow, ChainHead, chain
from service.store.audit.tables import audit, audit_head, make_row
from service.store.audit.verify import AuditReport, verify_chain
from service.store.database import Database

_HEAD = sa.select(audit_head.c.number, audit_head.c.hash).where(audit_head.c.id == 1)
_INSERT = sa.insert(audit)
_SET_HEAD = sa.update(audit_head).where(audit_head.c.id == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """The rows of the audit log to list: of a time (`until` excluded), an actor, an action."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None


class AuditLog:
    """The rows of the audit log. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Append entries in their order, in a transaction of their own."""
        await self._database.write(partial(append, entries))

    async def list_rows(
        self, filter_: AuditFilter, limit: int, before: int | None = None
    ) -> list[AuditRow]:
        """Return rows, the last one first; with `before`, a number, only earlier ones."""
        query = sa.select(audit).where(*_make_conditions(filter_))
        if before is not None:
            query = query.where(audit.c.number < before)
        query = query.order_by(audit.c.number.desc()).limit(limit)
        rows = await self._database.fetch_all(query, "read_audit")
        return [make_row(row) for row in rows]

    async def verify(self, since: str | None = None) -> AuditReport:
        """Return the faults of the log; `since` is the hash of a row that must be in it."""
        return await self._database.read(partial(verify_chain, since), "read_audit")


def _make_conditions(filter_: AuditFilter) -> Iterator[sa.ColumnElement[bool]]:
    if filter_.since is not None:
        yield audit.c.at >= filter_.since
    if filter_.until is not None:
        yield audit.c.at < filter_.until
    if filter_.actor is not None:
        yield audit.c.actor == filter_.actor
    if filter_.action is not None:
        yield audit.c.action == filter_.action


async def append(entries: Sequence[AuditEntry], connection: AsyncConnection) -> None:
    """Append entries within the transaction of `connection`.

    This locks the end of the log until the commit, so that the writers of all processes form one
    chain. Call it last in a transaction: then no two transactions can wait for each other.
    """
    if not entries:
        return
    row = (await connection.execute(_HEAD.with_for_update())).one()
    head = ChainHead(row.number, row.hash)
    rows: list[dict[str, Any]] = []
    for entry in entries:
        columns = chain(entry, head)
        rows.append(columns)
        head = ChainHead(head.number + 1, str(columns["hash"]))
    await connection.execute(_INSERT, rows)
    await connection.execute(_SET_HEAD.values(number=head.number, hash=head.hash))
