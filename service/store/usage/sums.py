"""Adds the usage of ended runs to the sums, in the transaction that ends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from service.store.connections.transaction import Transaction
from service.store.connections.urls import Dialect
from service.store.usage.records import UsageShare, UsageSums
from service.store.usage.tables import ALL, TOTALS, usage_sums

_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_KEY = tuple(column.name for column in usage_sums.primary_key)
SUMS = UsageSums._fields
_COLUMNS = (*_KEY, *SUMS)


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

    def add(self, transaction: Transaction, runs: Iterable[EndedRun]) -> None:
        """Add the usage of `runs`. The rows are locked until the commit, so call it last."""
        sums: dict[tuple[str, ...], UsageSums] = {}
        for run in runs:
            for share in run.shares:
                measured = UsageSums.of_share(share)
                for key in self._list_keys(run, share):
                    known = sums.get(key)
                    sums[key] = known.plus(measured) if known else measured
        # All transactions lock rows in the same order, so that they cannot deadlock.
        rows = [dict(zip(_COLUMNS, (*key, *sums[key]), strict=True)) for key in sorted(sums)]
        transaction.execute_many(self._add, rows)

    def _list_keys(self, run: EndedRun, share: UsageShare) -> Iterable[tuple[str, ...]]:
        day = run.ended_at.astimezone(UTC).date().isoformat()
        of_agent = (run.ensemble, share.agent, share.model, self._writer)
        of_all = (ALL, ALL, ALL, self._writer)
        for level, period in (("day", day), ("month", day[:7])):
            for owner, key_id in ((run.owner, run.key_id or ""), (ALL, "")):
                yield (level, owner, period, key_id, *of_agent)
                yield (TOTALS[level], owner, period, key_id, *of_all)


def make_addition(dialect: Dialect) -> sa.UpdateBase:
    """Return the statement that adds a row of sums to the one with the same key."""
    statement = _INSERTS[dialect](usage_sums)
    added = {name: usage_sums.c[name] + statement.excluded[name] for name in SUMS}
    made: sa.UpdateBase = statement.on_conflict_do_update(index_elements=_KEY, set_=added)
    return made
