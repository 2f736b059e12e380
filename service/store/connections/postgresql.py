"""Connection pools for PostgreSQL, and connections that set the access of each transaction.

The settings `app.owner` and `app.all_owners` are set together with BEGIN, in the same round trip,
and end with the transaction, so that no later user of the connection inherits them. The owner is
sent in hexadecimal digits, which need no quoting.

Imported only for such a database: asyncpg takes 30 ms.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import asyncpg  # type: ignore[import-untyped]  # has no type hints
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.store.column_types import replace_unstorable
from service.store.scope import Access, Scope
from service.store.waiting import LOOP_FACTOR

_WRITERS = 3
_CONNECT_TIMEOUT_S = 10.0
_IDLE_FACTOR = 3  # times the time limit; much less than the time until a worker counts as stale

_OWNER = "SELECT set_config('app.owner', convert_from(decode('{}', 'hex'), 'UTF8'), true)"
_ALL_OWNERS = "SELECT set_config('app.all_owners', 'on', true)"


class GuardedConnection(asyncpg.Connection):  # type: ignore[misc]  # has no type hints
    """A connection whose next transactions have the given access; none without one."""

    access: Access = None

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        """Execute as asyncpg does; a BEGIN also sets the access."""
        if query.startswith("BEGIN") and self.access is not None:
            query = f"{query.rstrip(';')}; {_encode_access(self.access)}"
        return await super().execute(query, *arguments, **options)


def open_pools(
    dsn: str | None, timeout_s: float, readers: int
) -> tuple[AsyncEngine, AsyncEngine, WeakSet[Any]]:
    """Return the pools for writing and reading, and the set of their open connections."""
    connections: WeakSet[Any] = WeakSet()

    async def connect(**options: Any) -> Any:
        connection = await asyncpg.connect(
            dsn=dsn,
            connection_class=GuardedConnection,
            timeout=min(timeout_s, _CONNECT_TIMEOUT_S),
            command_timeout=timeout_s * LOOP_FACTOR,
            server_settings={
                "application_name": "llm-sse-service",
                # Release the locks of a process that is suspended during a transaction.
                "idle_in_transaction_session_timeout": str(int(timeout_s * _IDLE_FACTOR * 1000)),
            },
            **options,
        )
        connections.add(connection)
        return connection

    url = "postgresql+asyncpg://"
    options: dict[str, Any] = {
        "pool_timeout": timeout_s * LOOP_FACTOR,
        "max_overflow": 0,
        "hide_parameters": True,
        "connect_args": {"async_creator_fn": connect},
    }
    writing = create_async_engine(url, pool_size=_WRITERS, **options)
    reading = create_async_engine(
        url,
        pool_size=readers,
        # As in SQLite, a reader sees one snapshot and cannot write.
        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        **options,
    )
    return writing, reading, connections


def _encode_access(access: Access) -> str:
    if isinstance(access, Scope):
        return _OWNER.format(replace_unstorable(access.owner).encode().hex())
    return _ALL_OWNERS
