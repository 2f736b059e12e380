"""The counter of changes to accounts, with which every process learns of a change.

Whatever changes users, web sessions or keys calls `count_change` in its transaction. Each process
reads the number once per second and forgets its cached keys when it is another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.accounts.tables import revisions
from service.store.audit.entries import AuditEntry
from service.store.audit.log import append
from service.store.connections.execution import T, Work
from service.store.database import Database
from service.store.scope import Access

_IS_ACCOUNTS = revisions.c.name == "accounts"


class AccountChanges:
    """The number of changes to accounts. Raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_number(self) -> int:
        """Return a number that every committed change of accounts raises."""
        query = sa.select(revisions.c.number).where(_IS_ACCOUNTS)
        rows = await self._database.fetch_all(query, "maintain")
        return rows[0].number if rows else 0


async def count_change(connection: AsyncConnection) -> None:
    """Raise the number of changes in the transaction of `connection`.

    Call it last: on PostgreSQL other changes of accounts wait for this row until the commit.
    """
    raised = sa.update(revisions).where(_IS_ACCOUNTS).values(number=revisions.c.number + 1)
    await connection.execute(raised)


async def write_audited(
    database: Database, work: Work[T], audit: Sequence[AuditEntry], access: Access = None
) -> T:
    """Return the result of `work`, committed together with these entries of the audit log.

    Without a result (None or False) nothing was changed, and no entry is appended.
    """

    async def work_and_append(connection: AsyncConnection) -> T:
        result = await work(connection)
        if result:
            await append(audit, connection)
        return result

    return await database.write(work_and_append, "change_accounts", access)
