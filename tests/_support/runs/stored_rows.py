"""Database rows, read without the store."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.scope import ALL_OWNERS


async def count_rows(database: Database, table: sa.Table) -> int:
    async def work(connection: AsyncConnection) -> int:
        return await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    return await database.read(work, access=ALL_OWNERS)


async def select_rows(database: Database, *columns: sa.Column[object]) -> list[tuple[object, ...]]:
    async def work(connection: AsyncConnection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await connection.execute(sa.select(*columns))]

    return await database.read(work, access=ALL_OWNERS)
