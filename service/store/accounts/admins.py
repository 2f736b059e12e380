"""The rule that one administrator remains."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.accounts.records import LastAdminError
from service.store.accounts.tables import users

_ACTIVE_ADMIN = sa.and_(users.c.role == "admin", users.c.disabled_at.is_(None))


def count_admins() -> sa.Select[Any]:
    """Return the query for the number of administrators who are not disabled."""
    return sa.select(sa.func.count()).select_from(users).where(_ACTIVE_ADMIN)


async def is_active_admin(connection: AsyncConnection, user_id: str) -> bool:
    """Return whether a user administers the service; locks the user until the commit."""
    query = sa.select(users.c.id).where(users.c.id == user_id, _ACTIVE_ADMIN)
    return await connection.scalar(query.with_for_update()) is not None


async def check_admin_remains(connection: AsyncConnection) -> None:
    """Raise LastAdminError if no administrator can log in or use keys any more.

    The caller has changed the counter of changes, for which concurrent changes wait.
    """
    if not await connection.scalar(count_admins()):
        raise LastAdminError
