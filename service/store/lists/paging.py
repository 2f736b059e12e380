"""Pagination of long lists: totals without counting rows, and cheap access to each page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.scope import Scope

# Triggers maintain this table. An owner may have several rows; the total is their sum.
_counts = sa.Table(
    "counts",
    sa.MetaData(),
    sa.Column("owner", sa.Text),
    sa.Column("runs", sa.BigInteger),
    sa.Column("conversations", sa.BigInteger),
)


@dataclass(frozen=True, slots=True)
class Slice:
    """At most `limit` rows from `offset` on, out of `total`."""

    total: int
    limit: int
    offset: int


async def count_rows(connection: AsyncConnection, scope: Scope, column: str) -> int:
    """Return the owner's number of `runs` (without superseded ones) or `conversations`."""
    statement = scope.select(_counts, sa.func.sum(_counts.c[column]))
    return int(await connection.scalar(statement) or 0)


async def move_run_count(connection: AsyncConnection, owner: str, heir: str) -> None:
    """Add the count of the owner's runs to that of `heir`: triggers do not count new owners."""
    count = await count_rows(connection, Scope(owner), "runs")
    if count:
        for each, change in ((owner, -count), (heir, count)):
            if connection.dialect.name == "postgresql":  # its rows of an owner are added up
                added = Scope(each).insert(_counts, runs=change, conversations=0)
                await connection.execute(added)
            else:
                raised = Scope(each).update(_counts, runs=_counts.c.runs + change)
                await connection.execute(raised)


async def fetch_newest_first(
    connection: AsyncConnection,
    statement: Select[Any],
    order: Sequence[ColumnElement[Any]],
    part: Slice,
) -> list[Row[Any]]:
    """Return one slice of the statement's rows, in descending `order`.

    Skipped rows cost time too, so the query starts from the nearer end.
    """
    limit = min(part.limit, part.total - part.offset)
    if limit <= 0:
        return []
    behind = part.total - part.offset - limit
    if behind < part.offset:
        upwards = statement.order_by(*order).limit(limit).offset(behind)
        return [*(await connection.execute(upwards))][::-1]
    downwards = statement.order_by(*(each.desc() for each in order))
    return [*(await connection.execute(downwards.limit(limit).offset(part.offset)))]
