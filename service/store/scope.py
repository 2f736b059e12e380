"""Statements that are limited to the rows of one owner, and the access of transactions to rows.

On PostgreSQL row-level security is a second barrier: a transaction sees the rows of the `Access`
that it was started with, whatever its statements state. SQLite has no such barrier.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Delete, FromClause, Insert, Select, Table, Update


class Scope:
    """Builds statements that read and change rows of `owner` only."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def select(self, table: Table, *columns: ColumnElement[Any]) -> Select[Any]:
        """Return a query of `table`'s rows, by default with all columns."""
        return sa.select(*(columns or table.columns)).where(self.is_owned(table))

    def select_keys(
        self, columns: Sequence[ColumnElement[Any]], values: Collection[Any]
    ) -> Select[Any]:
        """Return a query of the rows whose first column, a unique one, is among `values`.

        The limit makes SQLite use the index of that column; without it, SQLite assumes that an
        owner has few rows and reads them all.
        """
        rows = sa.select(*columns).where(columns[0].in_(values)).limit(len(values)).subquery()
        return sa.select(rows).where(self.is_owned(rows))

    def insert(self, table: Table, **values: Any) -> Insert:
        """Return an insert of one row."""
        return sa.insert(table).values(self.row(**values))

    def update(self, table: Table, **values: Any) -> Update:
        """Return an update of the owner's rows, to be narrowed with `where`."""
        return sa.update(table).where(self.is_owned(table)).values(**values)

    def delete(self, table: Table) -> Delete:
        """Return a deletion of the owner's rows, to be narrowed with `where`."""
        return sa.delete(table).where(self.is_owned(table))

    def row(self, **values: Any) -> Mapping[str, Any]:
        """Return the values of a new row, including the owner."""
        return {"owner": self.owner, **values}

    def is_owned(self, table: FromClause) -> ColumnElement[bool]:
        """Return the condition that a row of `table` (or of an alias) belongs to the owner."""
        condition: ColumnElement[bool] = table.c.owner == self.owner
        return condition


class AllOwners:
    """Access to the rows of every owner, for the service's own work: the journal, maintenance."""


ALL_OWNERS: Final = AllOwners()

Access = Scope | AllOwners | None
"""The rows that a transaction may see: of one owner, of all, or only those without an owner."""
