"""Adds the usage of ended runs to the sums, in the transaction that ends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.connections.urls import Dialect
from service.store.usage.records import UsageShare, UsageSums
from service.store.usage.tables import ALL, TOTALS, usage_sums

_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_KEY = tuple(column.name for column in usage_sums.primary_key)
SUMS = tuple(field.name for field in fields(UsageSums))


@dataclass(frozen=True, slots=True)
class EndedRun:
    """An ended run, as far as its usage is concerned."""

    owner: str
    key_id: str | None
    ensemble: str
    ended_at: datetime
    shares: Iterable[UsageShare]


class UsageWriter:
    """Adds to the rows of one process. On SQLite, where writers never overlap, all share theirs."""

    def __init__(self, dialect: Dialect, writer: str) -> None:
        self._writer = "" if dialect == "sqlite" else writer
        self._add = make_addition(dialect)

    async def add(self, connection: AsyncConnection, runs: Iterable[EndedRun]) -> None:
        """Add the usage of `runs`. The rows are locked until the commit, so call it last."""
        sums: dict[tuple[str, ...], UsageSums] = {}
        for run in runs:
            for share in run.shares:
                for key in self._list_keys(run, share):
                    sums.setdefault(key, UsageSums()).add(share)
        if sums:
            # All transactions lock rows in the same order, so that they cannot deadlock.
            rows = [
                {**dict(zip(_KEY, key, strict=True)), **asdict(sums[key])} for key in sorted(sums)
            ]
            await connection.execute(self._add, rows)

    def _list_keys(self, run: EndedRun, share: UsageShare) -> Iterable[tuple[str, ...]]:
        day = run.ended_at.astimezone(UTC).date().isoformat()
        of_agent = (run.ensemble, share.agent, share.model, self._writer)
        of_all = (ALL, ALL, ALL, self._writer)
        for level, period in (("day", day), ("month", day[:7])):
            for owner, key_id in ((run.owner, run.key_id or ""), (ALL, "")):
                yield (level, owner, period, key_id, *of_agent)
                yield (TOTALS[level], owner, period, key_id, *of_all)


def make_addition(dialect: Dialect) -> sa.Executable:
    """Return the statement that adds a row of sums to the one with the same key."""
    statement = _INSERTS[dialect](usage_sums)
    added = {name: usage_sums.c[name] + statement.excluded[name] for name in SUMS}
    made: sa.Executable = statement.on_conflict_do_update(index_elements=_KEY, set_=added)
    return made
