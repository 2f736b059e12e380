"""SQLite's connections, each in a thread of its own as aiosqlite has them, but with fewer errands.

aiosqlite sends its thread to make a cursor, to execute, to fetch and to close, and each errand
waits until that thread and the loop's have got hold of the interpreter. Here a statement is one
errand, and one that returns nothing goes along with the next: a transaction that only writes is
over with its COMMIT, which then tells what was wrong with any of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import aiosqlite

_ThreadJob = Callable[[sqlite3.Connection], None]


class Cursor:
    """One statement and all its rows. What SQLAlchemy asks of a cursor, and no more."""

    def __init__(self, connection: SqliteConnection) -> None:
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1
        self._connection = connection
        self._rows: Sequence[Any] = ()

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Self:
        if statement.startswith("BEGIN"):
            self._connection.later(lambda connection: _close_cursor(connection.execute(statement)))
        else:
            await self._connection.errand(partial(self._execute, statement, parameters))
        return self

    async def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> Self:
        self._connection.later(
            lambda connection: _close_cursor(connection.executemany(statement, rows))
        )
        return self

    async def fetchall(self) -> Sequence[Any]:
        return self._rows

    async def close(self) -> None:
        """Do nothing: it is closed already."""

    def _execute(
        self, statement: str, parameters: Sequence[Any], connection: sqlite3.Connection
    ) -> None:
        cursor = connection.execute(statement, parameters)
        try:
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else ()
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


class SqliteConnection(aiosqlite.Connection):
    """A connection that gathers what need not be told about."""

    _waiting: Sequence[_ThreadJob] = ()

    def later(self, work: _ThreadJob) -> None:
        """Run `work` in the connection's thread with the next errand."""
        self._waiting = [*self._waiting, work]

    async def errand(self, work: _ThreadJob) -> None:
        """Run `work` in the connection's thread, after what was left for later."""
        waiting, self._waiting = self._waiting, ()
        await self._execute(_run_jobs, self._conn, [*waiting, work])  # type: ignore[no-untyped-call]  # theirs

    def cursor(self) -> Cursor:  # type: ignore[override]  # theirs is also a context manager
        return Cursor(self)

    async def commit(self) -> None:
        await self.errand(sqlite3.Connection.commit)

    async def rollback(self) -> None:
        """Go back to before the transaction, if it has begun."""
        self._waiting = ()
        if self.in_transaction:
            await self.errand(sqlite3.Connection.rollback)


def connect(path: str, **options: Any) -> SqliteConnection:
    """Return a connection that opens when it is awaited."""
    connection = SqliteConnection(partial(sqlite3.connect, path, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001  (as SQLAlchemy does with those it makes)
    return connection


def _run_jobs(connection: sqlite3.Connection, errands: Sequence[_ThreadJob]) -> None:
    for errand in errands:
        errand(connection)


def _close_cursor(cursor: sqlite3.Cursor) -> None:
    cursor.close()
