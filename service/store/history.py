"""Lists of an owner's runs, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.lists.long_texts import Texts, read_listed_runs, read_texts
from service.store.lists.pages import Page
from service.store.lists.paging import Slice, count_rows, fetch_newest_first
from service.store.records import StoredRun
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
        scope = Scope(owner)
        work = partial(_read_page, scope, limit, offset, before)
        return await self._database.read(work, "list", scope)

    async def read_texts(self, owner: str, ids: Sequence[str]) -> Mapping[str, Texts]:
        """Return the question and the answer of runs by id, without those of deleted runs."""
        scope = Scope(owner)
        return await self._database.read(partial(_read_texts, scope, ids), "list", scope)


async def _read_texts(
    scope: Scope, ids: Sequence[str], connection: AsyncConnection
) -> Mapping[str, Texts]:
    return await read_texts(connection, scope, ids)


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
    listed, unread = await read_listed_runs(connection, scope, runs.c.id, found)
    return Page([*listed.values()], total, unread=unread)
