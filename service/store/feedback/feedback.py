"""Queries and changes of feedback, limited to the owner of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects import postgresql, sqlite

from service.store.database import Database
from service.store.feedback.records import Rating, StoredRating
from service.store.feedback.tables import feedback
from service.store.schema import runs
from service.store.scope import Scope

_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_FIELDS = tuple(field.name for field in fields(Rating))
_CHANGED = (*(name for name in _FIELDS if name != "agent"), "updated_at")


class FeedbackStore:
    """The feedback of a database. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_ratings(self, owner: str, run_id: str) -> list[StoredRating]:
        """Return the ratings of a run: of its answer first, then of its agents by name."""
        scope = Scope(owner)
        statement = scope.select(feedback).where(feedback.c.run_id == run_id)
        rows = await self._database.fetch_all(
            statement.order_by(feedback.c.agent), "read_feedback", scope
        )
        return [_make_rating(row) for row in rows]

    async def put(self, owner: str, run_id: str, rating: Rating, now: datetime) -> bool:
        """Store a rating in place of an earlier one; return False if the owner has no such run.

        One statement, so that a transfer or a deletion of the run comes before it or after it.
        """
        scope = Scope(owner)
        row = {**asdict(rating), "created_at": now, "updated_at": now}
        values = [sa.literal(value, feedback.c[name].type) for name, value in row.items()]
        source = scope.select(runs, runs.c.id, runs.c.owner, *values).where(runs.c.id == run_id)
        insert = _INSERTS[self._database.dialect](feedback).from_select(
            ["run_id", "owner", *row], source.with_for_update(key_share=True, read=True)
        )
        changes = {name: insert.excluded[name] for name in _CHANGED}
        statement = insert.on_conflict_do_update(index_elements=["run_id", "agent"], set_=changes)
        return await self._database.execute(statement, "change_feedback", scope) > 0

    async def delete(self, owner: str, run_id: str, agent: str) -> None:
        """Delete the rating of a run's answer (agent "") or of one of its agents, if it exists."""
        scope = Scope(owner)
        statement = scope.delete(feedback).where(
            feedback.c.run_id == run_id, feedback.c.agent == agent
        )
        await self._database.execute(statement, "change_feedback", scope)


def _make_rating(row: Row[Any]) -> StoredRating:
    rating = Rating(**{name: getattr(row, name) for name in _FIELDS})
    return StoredRating(rating, row.created_at, row.updated_at)
