"""The access of a transaction, which PostgreSQL's row-level security policies read.

A connection of `postgresql.py` sends it with BEGIN.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.scope import Access

_BYPASSES = sa.text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")


async def set_access(connection: AsyncConnection, access: Access) -> None:
    """Set the access of the next transaction on `connection`; it has no effect on SQLite."""
    if connection.dialect.name == "postgresql":
        driver = (await connection.get_raw_connection()).driver_connection
        driver.access = access  # type: ignore[union-attr]  # a GuardedConnection


async def bypasses_policies(connection: AsyncConnection) -> bool:
    """Return whether no policy restricts the role: a superuser's, or any of SQLite."""
    return connection.dialect.name == "sqlite" or bool(await connection.scalar(_BYPASSES))
