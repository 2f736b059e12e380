"""The counter of changes to accounts: raised with a change, and only when that is committed."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.accounts.changes import AccountChanges, count_change
from service.store.database import Database


async def test_each_committed_change_raises_the_number(database: Database) -> None:
    changes = AccountChanges(database)
    before = await changes.read_number()
    await asyncio.gather(*(database.write(count_change) for _ in range(5)))
    assert await changes.read_number() == before + 5


async def test_a_change_that_is_undone_does_not_raise_the_number(database: Database) -> None:
    async def fail(connection: AsyncConnection) -> None:
        await count_change(connection)
        raise RuntimeError

    before = await AccountChanges(database).read_number()
    with pytest.raises(RuntimeError):
        await database.write(fail)
    assert await AccountChanges(database).read_number() == before
