"""Statements within a transaction without pauses, the same for both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Insert, Select, UpdateBase

from service.store.connections.prepared import PreparedStatements, Values

T = TypeVar("T")


class Transaction(Protocol):
    """Executes statements one after the other, until their transaction ends."""

    def fetch_all(self, query: Select[Any], values: Values) -> Sequence[Any]:
        """Return the rows of a query, with their columns as attributes."""
        ...

    def execute_many(self, statement: UpdateBase, rows: Sequence[Values]) -> None:
        """Execute a statement for each of `rows`; does nothing without rows."""
        ...


class SqlAlchemyTransaction:
    """A transaction of SQLAlchemy, for PostgreSQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch_all(self, query: Select[Any], values: Values) -> Sequence[Any]:
        return self._connection.execute(query, values).all()

    def execute_many(self, statement: UpdateBase, rows: Sequence[Values]) -> None:
        if rows:
            self._connection.execute(statement, rows)


class SqliteTransaction:
    """A transaction of sqlite3, used in the thread of its connection."""

    def __init__(self, connection: sqlite3.Connection, statements: PreparedStatements) -> None:
        self._connection = connection
        self._statements = statements

    def fetch_all(self, query: Select[Any], values: Values) -> Sequence[Any]:
        found = self._statements.find_query(query, values)
        parameters = found.encode(values)
        with closing(self._connection.execute(found.statement.sql, parameters)) as cursor:
            return [found.decode(row) for row in cursor]

    def execute_many(self, statement: UpdateBase, rows: Sequence[Values]) -> None:
        if not rows:
            return
        if isinstance(statement, Insert):
            for part, of_part in self._statements.split_insert(statement, rows):
                self._connection.execute(part.sql, part.encode(of_part)).close()
            return
        change = self._statements.find_change(statement, rows[0])
        parameters = [change.encode([row]) for row in rows]
        self._connection.executemany(change.sql, parameters).close()


def transact(
    statements: PreparedStatements,
    work: Callable[[Transaction], T],
    check: Callable[[], None],
    connection: sqlite3.Connection,
) -> T:
    """Return the result of `work` after a commit; `check` is called before and may refuse it."""
    # A plain BEGIN takes the lock at the first write, when SQLite no longer waits for it.
    connection.execute("BEGIN IMMEDIATE").close()
    try:
        result = work(SqliteTransaction(connection, statements))
        check()
        connection.commit()
    except BaseException:
        with suppress(sqlite3.Error):  # the first error is the one to report
            connection.rollback()
        raise
    return result
