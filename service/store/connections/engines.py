"""Connection pools for SQLite and PostgreSQL: one for writing, one for reading.

With two pools, readers never take the connection that a writer needs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal
from weakref import WeakSet

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.store.connections.opened_file import OpenedFile
from service.store.connections.sqlite import connect
from service.store.connections.urls import Address, Dialect
from service.store.waiting import LOOP_FACTOR

_READERS = 4
_BUSY_SHARE = 0.75  # of the time limit, so that "locked" is reported before "too slow"

Purpose = Literal["reading", "writing"]


@dataclass(frozen=True, slots=True)
class Engines:
    """The two pools of one database. `connections` are the open connections of asyncpg."""

    dialect: Dialect
    writing: AsyncEngine
    reading: AsyncEngine
    connections: WeakSet[Any] = field(default_factory=WeakSet)
    file: OpenedFile | None = None  # of SQLite

    def of(self, purpose: Purpose) -> AsyncEngine:
        """Return the pool for a purpose."""
        return self.writing if purpose == "writing" else self.reading

    async def close(self, timeout_s: float) -> None:
        """Close all connections; after `timeout_s` terminate those still open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.writing.dispose()
                await self.reading.dispose()
        for connection in list(self.connections):
            if not connection.is_closed():
                connection.terminate()


def open_engines(address: Address, timeout_s: float, *, may_create: bool = False) -> Engines:
    """Return pools that connect on first use; each wait of theirs is at most `timeout_s`.

    A SQLite file that does not exist is an error, unless `may_create`.
    """
    if address.dialect == "sqlite":
        return _open_sqlite(address, timeout_s, may_create)
    from service.store.connections.postgresql import open_pools

    return Engines("postgresql", *open_pools(address.dsn, timeout_s, _READERS))


def _open_sqlite(address: Address, timeout_s: float, may_create: bool) -> Engines:
    open_file = partial(connect, mode="rwc" if may_create else "rw")
    driver: dict[str, Any] = {
        "async_creator_fn": open_file,
        "timeout": timeout_s * _BUSY_SHARE,
        # The driver starts no transactions; the listeners below send BEGIN.
        "isolation_level": None,
    }
    options: dict[str, Any] = {
        "pool_timeout": timeout_s * LOOP_FACTOR,
        "max_overflow": 0,
        "hide_parameters": True,  # errors are logged with the statement, without user data
    }
    interruptible = {**driver, "async_creator_fn": partial(open_file, is_interruptible=True)}
    url = f"sqlite+aiosqlite:///{address.path}"
    writing = create_async_engine(url, pool_size=1, connect_args=driver, **options)
    reading = create_async_engine(url, pool_size=_READERS, connect_args=interruptible, **options)
    event.listen(writing.sync_engine, "connect", _prepare_writer)
    event.listen(reading.sync_engine, "connect", _prepare_reader)
    event.listen(writing.sync_engine, "begin", _begin_immediate)
    event.listen(reading.sync_engine, "begin", _begin)
    file = OpenedFile(address.path)
    for engine in (writing, reading):
        event.listen(engine.sync_engine, "connect", lambda *_: file.note_opened())
    event.listen(writing.sync_engine, "close", lambda *_: file.forget_companions())
    return Engines("sqlite", writing, reading, file=file)


def _prepare_writer(connection: Any, _record: object) -> None:
    _set_pragmas(
        connection,
        "journal_mode = WAL",  # readers and the writer do not block each other
        "synchronous = FULL",  # a commit is on disk when it returns
        "foreign_keys = ON",
        "secure_delete = ON",  # overwrite deleted data
    )


def _prepare_reader(connection: Any, _record: object) -> None:
    _set_pragmas(connection, "query_only = ON")


def _set_pragmas(connection: Any, *pragmas: str) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A plain BEGIN takes the lock at the first write, when SQLite no longer waits for it.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
