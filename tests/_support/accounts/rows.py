"""Users and keys, written to the database of a running service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.access.api_keys import ApiKey, generate_key
from service.ids import new_id
from service.store.accounts.changes import count_change
from service.store.accounts.tables import api_keys, users
from service.store.database import Database


@dataclass(frozen=True)
class TestUser:
    """A user with a key that has all scopes of the role."""

    __test__ = False

    id: str
    name: str
    key: ApiKey

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key.text}"}


class AccountRows:
    """Writes accounts to the database with this URL, as the commands and the API do."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def add_user(self, name: str, role: str = "user", **columns: Any) -> TestUser:
        """Add a user and a key."""
        now = datetime.now(UTC)
        user_id = new_id("user")
        row = {"id": user_id, "name": name, "name_key": name.casefold(), "role": role}
        await self._write(sa.insert(users).values(**row, created_at=now, updated_at=now, **columns))
        return TestUser(user_id, name, await self.add_key(user_id))

    async def add_key(
        self, user_id: str, scopes: Sequence[str] | None = None, **columns: Any
    ) -> ApiKey:
        """Add a key of a user."""
        key = generate_key()
        row = {"id": key.id, "user_id": user_id, "name": "a key", "secret_hash": key.hash}
        granted = None if scopes is None else json.dumps(list(scopes))
        await self._write(
            sa.insert(api_keys).values(
                **row, scopes=granted, created_at=datetime.now(UTC), **columns
            )
        )
        return key

    async def change_key(self, key_id: str, **columns: Any) -> None:
        """Change columns of a key."""
        await self._write(sa.update(api_keys).where(api_keys.c.id == key_id).values(**columns))

    async def change_user(self, user_id: str, **columns: Any) -> None:
        """Change columns of a user."""
        await self._write(sa.update(users).where(users.c.id == user_id).values(**columns))

    async def last_use(self, key_id: str) -> datetime | None:
        """Return when a key was used last, as the database has it."""
        database = Database(self._url, timeout_s=60)
        try:
            query = sa.select(api_keys.c.last_used_at).where(api_keys.c.id == key_id)
            rows = await database.fetch_all(query)
        finally:
            await database.close()
        found: datetime | None = rows[0][0]
        return found

    async def _write(self, statement: sa.Insert | sa.Update) -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement)
            await count_change(connection)

        database = Database(self._url, timeout_s=60)
        try:
            await database.write(work)
        finally:
            await database.close()
