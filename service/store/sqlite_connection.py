"""SQLite's connections, each in a thread of its own as aiosqlite has them, but with fewer errands.

aiosqlite sends its thread to make a cursor, to execute, to fetch and to close: four errands for a
statement, and each waits until that thread and the loop's have got hold of the interpreter. Here a
statement is one errand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Self

import aiosqlite


class Cursor:
    """One statement and all its rows. What SQLAlchemy asks of a cursor, and no more."""

    def __init__(self, connection: SqliteConnection) -> None:
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1
        self._connection = connection
        self._rows: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Self:
        await self._connection.errand(self._execute, statement, parameters)
        return self

    async def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> Self:
        await self._connection.errand(self._executemany, statement, rows)
        return self

    async def fetchall(self) -> Sequence[Any]:
        return self._rows

    async def close(self) -> None:
        """Do nothing: it is closed already."""

    def _execute(self, connection: sqlite3.Connection, statement: str, parameters: Any) -> None:
        self._take(connection.execute(statement, parameters))

    def _executemany(self, connection: sqlite3.Connection, statement: str, rows: Any) -> None:
        self._take(connection.executemany(statement, rows))

    def _take(self, cursor: sqlite3.Cursor) -> None:
        try:
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else []
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


class SqliteConnection(aiosqlite.Connection):
    """A connection that runs a statement in one errand."""

    async def errand(self, work: Any, *arguments: Any) -> None:
        """Run `work(connection, *arguments)` in the connection's thread."""
        await self._execute(work, self._conn, *arguments)  # type: ignore[no-untyped-call]  # theirs

    def cursor(self) -> Cursor:  # type: ignore[override]  # not a coroutine that can also be used
        return Cursor(self)

    async def rollback(self) -> None:
        """Go back to before the transaction, if there is one."""
        if self.in_transaction:
            await super().rollback()


def connect(path: str, **options: Any) -> SqliteConnection:
    """Return a connection that opens when it is awaited."""
    connection = SqliteConnection(partial(sqlite3.connect, path, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001  (as SQLAlchemy does with those it makes)
    return connection
