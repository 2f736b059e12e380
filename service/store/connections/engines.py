"""The connections: SQLite's or PostgreSQL's, one pool that writes and another that reads.

Two pools, so that readers never take the connection that a writer needs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import asyncpg  # type: ignore[import-untyped]  # it has none
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.store.connections.sqlite import connect
from service.store.connections.urls import Address, Dialect

_READERS = 4
_POSTGRES_WRITERS = 3
_CONNECT_TIMEOUT_S = 10.0
_COMMAND_FACTOR = 2  # of the time limit; a reply may wait for a busy event loop
_IDLE_FACTOR = 3  # of the time limit; long before a silent process is taken for dead
_BUSY_SHARE = 0.75  # of the time limit: "locked" is to be heard before "too slow"


@dataclass(frozen=True, slots=True)
class Engines:
    """The two pools of one database. `connections` are asyncpg's, for as long as they live."""

    dialect: Dialect
    writing: AsyncEngine
    reading: AsyncEngine
    connections: WeakSet[Any] = field(default_factory=WeakSet)

    async def close(self, timeout_s: float) -> None:
        """Disconnect, politely for as long as `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.writing.dispose()
                await self.reading.dispose()
        for connection in list(self.connections):
            if not connection.is_closed():
                connection.terminate()


def open_engines(address: Address, timeout_s: float) -> Engines:
    """Return pools that connect when first used; nothing of theirs waits past `timeout_s`."""
    opened = _open_sqlite if address.dialect == "sqlite" else _open_postgresql
    return opened(address, timeout_s)


# --- SQLite ---


def _open_sqlite(address: Address, timeout_s: float) -> Engines:
    options: dict[str, Any] = {
        "pool_timeout": timeout_s,
        "max_overflow": 0,
        "hide_parameters": True,  # an error is logged with its statement, not with what users say
        # The driver begins no transaction of its own: BEGIN is ours, below.
        "connect_args": {
            "async_creator_fn": connect,
            "timeout": timeout_s * _BUSY_SHARE,
            "isolation_level": None,
        },
    }
    url = f"sqlite+aiosqlite:///{address.path}"
    writing = create_async_engine(url, pool_size=1, **options)
    reading = create_async_engine(url, pool_size=_READERS, **options)
    event.listen(writing.sync_engine, "connect", _prepare_writer)
    event.listen(reading.sync_engine, "connect", _prepare_reader)
    event.listen(writing.sync_engine, "begin", _begin_immediate)
    event.listen(reading.sync_engine, "begin", _begin)
    return Engines("sqlite", writing, reading)


def _prepare_writer(connection: Any, _record: object) -> None:
    _set_pragmas(
        connection,
        "journal_mode = WAL",  # readers and the writer do not wait for each other
        "synchronous = FULL",  # a commit is on the disk when it returns
        "foreign_keys = ON",
        "secure_delete = ON",  # what is deleted is overwritten
    )


def _prepare_reader(connection: Any, _record: object) -> None:
    _set_pragmas(connection, "query_only = ON")


def _set_pragmas(connection: Any, *pragmas: str) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A plain BEGIN takes its lock at the first write, too late to wait for it.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


# --- PostgreSQL ---


def _open_postgresql(address: Address, timeout_s: float) -> Engines:
    connections: WeakSet[Any] = WeakSet()

    async def connect(**options: Any) -> Any:
        connection = await asyncpg.connect(
            dsn=address.dsn,
            timeout=min(timeout_s, _CONNECT_TIMEOUT_S),
            command_timeout=timeout_s * _COMMAND_FACTOR,
            server_settings={
                "application_name": "llm-sse-service",
                # A process that is frozen in the midst of a transaction would keep its rows.
                "idle_in_transaction_session_timeout": str(int(timeout_s * _IDLE_FACTOR * 1000)),
            },
            **options,
        )
        connections.add(connection)
        return connection

    url = "postgresql+asyncpg://"
    options: dict[str, Any] = {
        "pool_timeout": timeout_s,
        "max_overflow": 0,
        "hide_parameters": True,
        "connect_args": {"async_creator_fn": connect},
    }
    writing = create_async_engine(url, pool_size=_POSTGRES_WRITERS, **options)
    reading = create_async_engine(
        url,
        pool_size=_READERS,
        # As SQLite has it: what one reader sees is of one moment, and it cannot write.
        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        **options,
    )
    return Engines("postgresql", writing, reading, connections)
