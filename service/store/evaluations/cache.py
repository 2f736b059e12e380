"""Reads and writes the cache of evaluations: a request's hash, and the run that answered it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy.dialects import postgresql, sqlite

from service.store.database import Database
from service.store.evaluations.tables import evaluation_cache
from service.store.scope import Scope

_INSERTS: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_KEYS_AT_ONCE: Final = 500  # below the limit of variables of one statement


class EvaluationCache:
    """The cached runs of an owner. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, owner: str, keys: Sequence[str], since: datetime) -> Mapping[str, str]:
        """Return the ids of the runs by key, of entries that are not older than `since`."""
        scope, found = Scope(owner), {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part = keys[start : start + _KEYS_AT_ONCE]
            statement = scope.select(
                evaluation_cache, evaluation_cache.c.key, evaluation_cache.c.run_id
            ).where(evaluation_cache.c.key.in_(part), evaluation_cache.c.created_at >= since)
            rows = await self._database.fetch_all(statement, "read_run", scope)
            found.update({row.key: row.run_id for row in rows})
        return found

    async def add(self, owner: str, key: str, run_id: str, now: datetime) -> None:
        """Store that run `run_id` has answered the request of `key`; the latest run counts."""
        scope = Scope(owner)
        insert = _INSERTS[self._database.dialect](evaluation_cache).values(
            scope.row(key=key, run_id=run_id, created_at=now)
        )
        changed = {"run_id": run_id, "created_at": now}
        statement = insert.on_conflict_do_update(index_elements=["owner", "key"], set_=changed)
        await self._database.execute(statement, "maintain", scope)

    async def tidy(self, owner: str, since: datetime, most: int) -> int:
        """Delete entries older than `since`, and the oldest above `most`; return their number."""
        scope = Scope(owner)
        kept = (
            scope.select(evaluation_cache, evaluation_cache.c.key)
            .where(evaluation_cache.c.created_at >= since)
            .order_by(evaluation_cache.c.created_at.desc(), evaluation_cache.c.key)
            .limit(most)
        )
        statement = scope.delete(evaluation_cache).where(evaluation_cache.c.key.not_in(kept))
        return await self._database.execute(statement, "maintain", scope)
