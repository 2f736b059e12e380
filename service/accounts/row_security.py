"""The warning about a database role that row-level security does not restrict."""

from __future__ import annotations

import asyncio
import logging

from service.errors import StorageUnavailable
from service.settings import Settings
from service.store.connections.row_security import bypasses_policies
from service.store.database import Database

_RETRY_AFTER_S = 5.0

_log = logging.getLogger(__name__)


async def warn_without_row_security(settings: Settings, database: Database) -> None:
    """Log a warning if users share a PostgreSQL database whose role bypasses the policies."""
    if not settings.requires_auth or database.dialect == "sqlite":
        return
    while True:
        try:
            if await database.read(bypasses_policies, "maintain"):
                _log.warning(
                    "the database role bypasses row-level security, the second barrier between "
                    "users; use a role that is no superuser (docs/security.md)"
                )
        except StorageUnavailable:
            await asyncio.sleep(_RETRY_AFTER_S)
        else:
            return
