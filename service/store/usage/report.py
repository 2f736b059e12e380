"""Queries of the usage sums, and their maintenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.scope import ALL_OWNERS, Scope
from service.store.usage.records import UsageGroup, UsageSums
from service.store.usage.sums import SUMS, make_addition
from service.store.usage.tables import ALL, TOTALS, usage_sums

UsageDimension = Literal["day", "agent", "model", "key", "user", "ensemble"]
DIMENSIONS: tuple[UsageDimension, ...] = get_args(UsageDimension)

_COLUMNS = {"day": "period", "key": "key_id", "user": "owner"}
_OLD_ENOUGH = timedelta(days=2)  # no process still adds to the rows of that day
_FOLDED_ROWS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Usage from the day `since` to the day `until`, both included, grouped by dimensions.

    `owner` None stands for all owners.
    """

    owner: str | None
    since: date
    until: date
    by: Sequence[UsageDimension] = ()


class UsageStore:
    """The usage of a database. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_groups(self, query: UsageQuery, limit: int) -> list[UsageGroup]:
        """Return at most `limit` groups in the order of their values."""
        statement = select_groups(query).limit(limit)
        access = ALL_OWNERS if query.owner is None else Scope(query.owner)
        rows = await self._database.fetch_all(statement, "read_usage", access)
        groups = [_make_group(tuple(row), len(query.by)) for row in rows]
        return [each for each in groups if each.sums != UsageSums()]

    async def fold(self, today: date) -> None:
        """Join the rows that several processes have written, once their day is over."""
        if self._database.dialect == "postgresql":
            await self._database.write(partial(_fold, today), access=ALL_OWNERS)


def select_groups(query: UsageQuery) -> sa.Select[Any]:
    """Return the statement of the groups in the order of their values.

    Whole months are read from the rows of months unless the query is grouped by day. Totals are
    read unless it is grouped by ensemble, agent or model.
    """
    columns = [usage_sums.c[_COLUMNS.get(name, name)] for name in query.by]
    # With agents, a run counts for each agent that took part in it.
    is_of_agents = bool({"agent", "model"} & set(query.by))
    counted = {"runs": usage_sums.c.calls} if is_of_agents else {}
    sums = [sa.func.sum(counted.get(name, usage_sums.c[name])).label(name) for name in SUMS]
    return (
        sa.select(*columns, *sums)
        .where(*_select_owner(query), sa.or_(*_select_periods(query)))
        .group_by(*columns)
        .order_by(*columns)
    )


def _select_owner(query: UsageQuery) -> Iterator[ColumnElement[bool]]:
    if query.owner is not None:
        yield usage_sums.c.owner == query.owner
    elif {"user", "key"} & set(query.by):
        yield usage_sums.c.owner != ALL
    else:
        yield usage_sums.c.owner == ALL


def _select_periods(query: UsageQuery) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of days and of whole months that are the time of the query."""
    needs_details = {"ensemble", "agent", "model"} & set(query.by)
    day, month = ("day", "month") if needs_details else (TOTALS["day"], TOTALS["month"])
    first, end = query.since, query.until + timedelta(days=1)
    month_start = first if first.day == 1 else _next_month(first)
    month_end = end.replace(day=1)
    if "day" in query.by or month_start >= month_end:
        yield _between(day, first.isoformat(), query.until.isoformat())
        return
    last_month = (month_end - timedelta(days=1)).isoformat()[:7]
    yield _between(month, month_start.isoformat()[:7], last_month)
    for start, after in ((first, month_start), (month_end, end)):
        if start < after:
            yield _between(day, start.isoformat(), (after - timedelta(days=1)).isoformat())


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _between(level: str, first: str, last: str) -> ColumnElement[bool]:
    return (usage_sums.c.level == level) & usage_sums.c.period.between(first, last)


def _make_group(row: tuple[Any, ...], dimensions: int) -> UsageGroup:
    sums = UsageSums(*(int(value or 0) for value in row[dimensions:]))
    return UsageGroup(row[:dimensions], sums)


async def _fold(today: date, connection: AsyncConnection) -> None:
    """Move rows of past days and months to the writer "", without waiting for locked ones."""
    before = (today - _OLD_ENOUGH).isoformat()
    past = sa.or_(
        usage_sums.c.level.in_(("day", TOTALS["day"])) & (usage_sums.c.period < before),
        usage_sums.c.level.in_(("month", TOTALS["month"])) & (usage_sums.c.period < before[:7]),
    )
    key = tuple(usage_sums.primary_key)
    chosen = (
        sa.select(*key)
        .where(past, usage_sums.c.writer != "")
        .limit(_FOLDED_ROWS)
        .with_for_update(skip_locked=True)
    )
    gone = sa.delete(usage_sums).where(sa.tuple_(*key).in_(chosen)).returning(usage_sums)
    rows = [dict(row) for row in (await connection.execute(gone)).mappings()]
    if rows:
        rows.sort(key=lambda row: tuple(str(row[column.name]) for column in key[:-1]))
        await connection.execute(
            make_addition("postgresql"), [{**row, "writer": ""} for row in rows]
        )
