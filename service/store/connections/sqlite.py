"""SQLite connections of aiosqlite with fewer thread switches.

aiosqlite runs each connection in its own thread and switches to it to create a cursor, to
execute, to fetch and to close; each switch waits for the GIL twice. Here a statement is one job
for the thread, and BEGIN and executemany, which return nothing, are deferred and run with the
next job. In a transaction that only writes, COMMIT therefore reports the errors of all statements.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_CHECKPOINT_WAIT_MS = 200
_INTERRUPT_EVERY_S = 0.05

T = TypeVar("T")
_ThreadJob = Callable[[sqlite3.Connection], None]


class Cursor:
    """A cursor with the methods that SQLAlchemy uses; it reads all rows at once."""

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
            self._connection.defer(lambda connection: _close_cursor(connection.execute(statement)))
        else:
            await self._connection.run_job(partial(self._execute, statement, parameters))
        return self

    async def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> Self:
        self._connection.defer(
            lambda connection: _close_cursor(connection.executemany(statement, rows))
        )
        return self

    async def fetchall(self) -> Sequence[Any]:
        return self._rows

    async def close(self) -> None:
        """Do nothing: every statement closes its own cursor."""

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


class _Jobs:
    """Work for the connection's thread; what has not started when it is abandoned is left out."""

    def __init__(self, jobs: Sequence[_ThreadJob]) -> None:
        self.is_abandoned = False
        self.is_done = False
        self._jobs = jobs

    def __call__(self, connection: sqlite3.Connection) -> None:
        try:
            for job in self._jobs:
                if self.is_abandoned:
                    raise sqlite3.OperationalError("interrupted")
                job(connection)
        finally:
            self.is_done = True


class SqliteConnection(aiosqlite.Connection):
    """A connection that defers jobs without a result.

    If it `is_interruptible`, a query whose caller is cancelled is stopped.
    """

    is_interruptible = False
    _deferred: Sequence[_ThreadJob] = ()

    def defer(self, job: _ThreadJob) -> None:
        """Run `job` in the connection's thread together with the next job."""
        self._deferred = [*self._deferred, job]

    async def run_job(self, job: _ThreadJob) -> None:
        """Run the deferred jobs, then `job`, in the connection's thread."""
        deferred, self._deferred = self._deferred, ()
        jobs = _Jobs([*deferred, job])
        try:
            await self._execute(jobs, self._conn)  # type: ignore[no-untyped-call]  # theirs
        except asyncio.CancelledError:
            # Here, because SQLAlchemy then closes the connection, which waits for the thread.
            if self.is_interruptible:
                jobs.is_abandoned = True
                self._interrupt(jobs)
            raise

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `work`, which is done in the connection's thread."""
        results: list[T] = []
        await self.run_job(lambda connection: results.append(work(connection)))
        return results[0]

    def _interrupt(self, jobs: _Jobs) -> None:
        """Stop the query of `jobs`, repeatedly: SQLite ignores this before the query starts."""
        if not jobs.is_done:
            with suppress(sqlite3.ProgrammingError):  # closed meanwhile
                self._conn.interrupt()
            asyncio.get_running_loop().call_later(_INTERRUPT_EVERY_S, self._interrupt, jobs)

    def cursor(self) -> Cursor:  # type: ignore[override]  # theirs is also a context manager
        return Cursor(self)

    async def commit(self) -> None:
        await self.run_job(sqlite3.Connection.commit)

    async def rollback(self) -> None:
        """Roll back the transaction, if it has started."""
        self._deferred = ()
        if self.in_transaction:
            await self.run_job(sqlite3.Connection.rollback)


def connect(
    path: str, *, mode: str = "rwc", is_interruptible: bool = False, **options: Any
) -> SqliteConnection:
    """Return a connection that opens when it is awaited.

    With the mode "rw" a file that does not exist is an error; "rwc" creates it.
    Source: https://www.sqlite.org/uri.html#urimode
    """
    uri = f"file:{quote(path)}?mode={mode}"
    connector = partial(sqlite3.connect, uri, uri=True, **options)
    connection = SqliteConnection(connector, iter_chunk_size=64)
    connection.is_interruptible = is_interruptible
    connection._thread.daemon = True  # noqa: SLF001  (as SQLAlchemy does for its own)
    return connection


def _close_cursor(cursor: sqlite3.Cursor) -> None:
    cursor.close()


async def truncate_log(connection: AsyncConnection) -> None:
    """Empty the write-ahead log as far as no reader uses it."""
    before = await connection.scalar(sa.text("PRAGMA busy_timeout"))
    await connection.commit()  # inside a transaction there is no checkpoint
    driver: Any = (await connection.get_raw_connection()).driver_connection
    # While it waits for readers, no other transaction can write.
    for pragma in (f"busy_timeout = {_CHECKPOINT_WAIT_MS}", "wal_checkpoint(TRUNCATE)"):
        await (await driver.execute(f"PRAGMA {pragma}")).close()
    await (await driver.execute(f"PRAGMA busy_timeout = {before}")).close()
