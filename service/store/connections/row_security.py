"""The access of a transaction, which PostgreSQL's row-level security policies read.

The settings `app.owner` and `app.all_owners` are set together with BEGIN, in the same round trip,
and end with the transaction, so that no later user of the connection inherits them. The owner is
sent in hexadecimal digits, which need no quoting.
"""

from __future__ import annotations

from typing import Any

import asyncpg  # type: ignore[import-untyped]  # has no type hints
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.column_types import replace_unstorable
from service.store.scope import Access, Scope

_OWNER = "SELECT set_config('app.owner', convert_from(decode('{}', 'hex'), 'UTF8'), true)"
_BYPASSES = sa.text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
_ALL_OWNERS = "SELECT set_config('app.all_owners', 'on', true)"


class GuardedConnection(asyncpg.Connection):  # type: ignore[misc]  # has no type hints
    """A connection whose next transactions have the given access; none without one."""

    access: Access = None

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        """Execute as asyncpg does; a BEGIN also sets the access."""
        if query.startswith("BEGIN") and self.access is not None:
            query = f"{query.rstrip(';')}; {_encode_access(self.access)}"
        return await super().execute(query, *arguments, **options)


async def set_access(connection: AsyncConnection, access: Access) -> None:
    """Set the access of the next transaction on `connection`; it has no effect on SQLite."""
    if connection.dialect.name == "postgresql":
        driver = (await connection.get_raw_connection()).driver_connection
        driver.access = access  # type: ignore[union-attr]  # a GuardedConnection


async def bypasses_policies(connection: AsyncConnection) -> bool:
    """Return whether no policy restricts the role: a superuser's, or any of SQLite."""
    return connection.dialect.name == "sqlite" or bool(await connection.scalar(_BYPASSES))


def _encode_access(access: Access) -> str:
    if isinstance(access, Scope):
        return _OWNER.format(replace_unstorable(access.owner).encode().hex())
    return _ALL_OWNERS
