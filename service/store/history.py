"""Lists of an owner's runs, newest first."""

from __future__ import annotations

from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.paging import Slice, count_rows, fetch_newest_first
from service.store.records import Page, StoredRun
from service.store.rows import RUN_COLUMNS, decode_run
from service.store.schema import runs
from service.store.scope import Scope


class History:
    """Runs of every state, except superseded ones. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(
        self, owner: str, limit: int, offset: int, before: str | None = None
    ) -> Page[StoredRun]:
        """Return a page of all runs, newest first.

        `before`, the id of the last run of the page before, costs the same for every page; an
        offset costs more for later pages.
        """
        return await self._database.read(
            partial(_read_page, Scope(owner), limit, offset, before), "list"
        )


async def _read_page(
    scope: Scope, limit: int, offset: int, before: str | None, connection: AsyncConnection
) -> Page[StoredRun]:
    total = await count_rows(connection, scope, "runs")
    # First the ids, from the index alone, then only the rows of the page.
    ids = scope.select(runs, runs.c.id).where(runs.c.superseded_by.is_(None))
    if before is None:
        part = Slice(total, limit, offset)
        found = [row.id for row in await fetch_newest_first(connection, ids, [runs.c.id], part)]
    else:
        older = ids.where(runs.c.id < before).order_by(runs.c.id.desc())
        found = [*(await connection.scalars(older.limit(limit).offset(offset)))]
    if not found:
        return Page((), total)
    rows = await connection.execute(
        scope.select_keys(RUN_COLUMNS, found)
    )  # `id` is the first column
    by_id = {row.id: decode_run(row) for row in rows}
    return Page([by_id[run_id] for run_id in found], total)
