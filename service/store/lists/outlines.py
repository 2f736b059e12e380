"""Queries for an overview of conversations: by id, by words of their titles, and their runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.records import Conversation
from service.store.schema import conversations, runs
from service.store.scope import Scope

_QUESTION_CHARS: Final = 200
_MAX_WORDS: Final = 20  # of a search in titles; the rest is ignored
_OUTLINE_COLUMNS = (
    runs.c.id, runs.c.state, runs.c.ensemble, runs.c.created_at, runs.c.superseded_by,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlinedRun:
    """A run in the outline of its conversation; `question` is the start of its text.

    `follows` is the run after which it was asked, "" for the one before it.
    """

    id: str
    state: str
    ensemble: str
    created_at: datetime
    superseded_by: str | None
    question: str
    follows: str


class Outlines:
    """Overviews of an owner's conversations. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_by_ids(self, owner: str, ids: Collection[str]) -> dict[str, Conversation]:
        """Return the conversations with these ids, by id."""
        scope = Scope(owner)
        statement = scope.select(conversations).where(conversations.c.id.in_(ids))
        rows = await self._database.fetch_all(statement, "list", scope) if ids else ()
        return {row.id: Conversation(**_without_owner(row)) for row in rows}

    async def find_by_title(self, owner: str, text: str, limit: int) -> Sequence[Conversation]:
        """Return the conversations whose titles have all words of `text`, latest update first.

        A word may be a part of a longer one; upper and lower case are equal.
        """
        words = text.split()[:_MAX_WORDS]
        if not words:
            return ()
        scope = Scope(owner)
        statement = (
            scope.select(conversations)
            .where(*(_is_in_title(word) for word in words))
            .order_by(conversations.c.updated_at.desc(), conversations.c.id.desc())
            .limit(limit)
        )
        rows = await self._database.fetch_all(statement, "search", scope)
        return [Conversation(**_without_owner(row)) for row in rows]

    async def list_runs(
        self, owner: str, conversation_id: str, limit: int
    ) -> Sequence[OutlinedRun]:
        """Return the newest `limit` runs of a conversation, also replaced ones, oldest first."""
        scope = Scope(owner)
        work = partial(_read_runs, scope, conversation_id, limit)
        return await self._database.read(work, "read_conversation", scope)


def _is_in_title(word: str) -> ColumnElement[bool]:
    """Return the condition for one word. SQLite knows upper and lower case of ASCII only."""
    title = conversations.c.title
    forms = dict.fromkeys((word, word.lower(), word.upper(), word.capitalize()))
    matches = [title.contains(form, autoescape=True) for form in forms]
    return sa.or_(title.icontains(word, autoescape=True), *matches)


async def _read_runs(
    scope: Scope, conversation_id: str, limit: int, connection: AsyncConnection
) -> Sequence[OutlinedRun]:
    statement = (
        scope.select(
            runs,
            *_OUTLINE_COLUMNS,
            sa.func.substr(runs.c.question, 1, _QUESTION_CHARS).label("question"),
            _select_follows(connection).label("follows"),
        )
        .where(runs.c.conversation_id == conversation_id)
        .order_by(runs.c.id.desc())
        .limit(limit)
    )
    found = [*(await connection.execute(statement))]
    return [
        OutlinedRun(**{**row._asdict(), "follows": row.follows or ""}) for row in reversed(found)
    ]


def _select_follows(connection: AsyncConnection) -> ColumnElement[Any]:
    """Return the field `follows` of the column `particulars`, which can have images: not all."""
    column = runs.c.particulars
    if connection.dialect.name == "postgresql":
        follows: ColumnElement[Any] = sa.cast(column, sa.JSON)["follows"].as_string()
        return follows
    return sa.func.json_extract(column, "$.follows")


def _without_owner(row: sa.Row[Any]) -> dict[str, Any]:
    fields: dict[str, Any] = row._asdict()
    del fields["owner"]
    return fields
