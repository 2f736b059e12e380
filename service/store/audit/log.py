"""Reads and appends of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.audit.entries import AuditEntry, ChainHead, chain
from service.store.audit.tables import audit, audit_head
from service.store.database import Database

_HEAD = sa.select(audit_head.c.number, audit_head.c.hash).where(audit_head.c.id == 1)
_INSERT = sa.insert(audit)
_SET_HEAD = sa.update(audit_head).where(audit_head.c.id == 1)


class AuditLog:
    """The rows of the audit log. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Append entries in their order, in a transaction of their own."""
        await self._database.write(partial(append, entries))


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
