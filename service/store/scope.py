"""The one place where queries are narrowed to one owner's rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Delete, FromClause, Insert, Select, Table, Update


class Scope:
    """Makes statements that see and change only what belongs to `owner`."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def select(self, table: Table, *columns: ColumnElement[Any]) -> Select[Any]:
        """Return a query of `table`'s rows; of all its columns unless some are named."""
        return sa.select(*(columns or table.columns)).where(self.of(table))

    def select_keys(
        self, columns: Sequence[ColumnElement[Any]], values: Collection[Any]
    ) -> Select[Any]:
        """Return a query of the rows whose first column, a unique one, is among `values`.

        The limit has SQLite look them up by that: it thinks that an owner has few rows.
        """
        rows = sa.select(*columns).where(columns[0].in_(values)).limit(len(values)).subquery()
        return sa.select(rows).where(self.of(rows))

    def insert(self, table: Table, **values: Any) -> Insert:
        return sa.insert(table).values(self.row(**values))

    def update(self, table: Table, **values: Any) -> Update:
        return sa.update(table).where(self.of(table)).values(**values)

    def delete(self, table: Table) -> Delete:
        return sa.delete(table).where(self.of(table))

    def row(self, **values: Any) -> Mapping[str, Any]:
        """Return a new row's values, the owner among them."""
        return {"owner": self.owner, **values}

    def of(self, table: FromClause) -> ColumnElement[bool]:
        """Return the condition that a row of `table` (also under an alias) is the owner's."""
        condition: ColumnElement[bool] = table.c.owner == self.owner
        return condition
