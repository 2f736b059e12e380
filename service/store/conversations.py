"""Queries and changes of conversations: list, read, create, rename, delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Row, Select, literal, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.audit.entries import AuditEntry
from service.store.audit.log import append
from service.store.database import Database
from service.store.lists.pages import Page, Position
from service.store.lists.paging import Slice, count_rows, fetch_newest_first
from service.store.lists.turns import read_first_turns, read_turns
from service.store.records import Conversation, ConversationTurn, FirstTurns
from service.store.schema import conversations, runs
from service.store.scope import Scope
from service.store.search.fts5 import enable_secure_delete, purge_deleted_text

_ORDER = (conversations.c.updated_at, conversations.c.id)


class Conversations:
    """Conversations of an owner. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, owner: str, conversation_id: str) -> Conversation | None:
        """Return the conversation, None if the owner has none with this id."""
        scope = Scope(owner)
        statement = scope.select(conversations).where(conversations.c.id == conversation_id)
        rows = await self._database.fetch_all(statement, "read_conversation", scope)
        return _make_conversation(rows[0]) if rows else None

    async def list_page(
        self, owner: str, limit: int, offset: int, before: Position | None = None
    ) -> Page[Conversation]:
        """Return a page of all conversations, latest update first.

        With `before`, the position of the last one of the page before, none is returned twice when
        conversations are updated in between.
        """
        scope = Scope(owner)
        part = partial(_read_page, scope, limit, offset, before)
        return await self._database.read(part, "list", scope)

    async def list_for_users(
        self,
        owner: str,
        user_ids: Sequence[str | None],
        limit: int,
        offset: int,
        before: Position | None = None,
    ) -> list[Conversation]:
        """Return a page of the conversations of these users, as `list_page` does.

        None in `user_ids` selects conversations without a user.
        """
        scope = Scope(owner)
        queries = [
            _select_older(_select_of_user(scope, each), before).limit(offset + limit)
            for each in user_ids
        ]
        return await self._database.read(
            partial(_read_for_users, scope, queries, limit, offset), "list", scope
        )

    async def list_turns(self, owner: str, conversation_id: str) -> FirstTurns:
        """Return the turns in order: the initial messages, then each question and its answer."""
        scope = Scope(owner)
        work = partial(read_first_turns, scope, conversation_id)
        return await self._database.read(work, "read_conversation", scope)

    async def list_turns_of(self, owner: str, run_ids: Sequence[str]) -> list[ConversationTurn]:
        """Return the turns of some runs of one conversation, in order."""
        scope = Scope(owner)
        work = partial(read_turns, scope, run_ids)
        return await self._database.read(work, "read_conversation", scope)

    async def list_running_run_ids(self, owner: str, conversation_id: str) -> list[str]:
        """Return the ids of the conversation's runs that have not ended, oldest first."""
        scope = Scope(owner)
        statement = (
            scope.select(runs, runs.c.id)
            .where(runs.c.conversation_id == conversation_id, runs.c.state == "running")
            .order_by(runs.c.id)
        )
        rows = await self._database.fetch_all(statement, "read_conversation", scope)
        return [row.id for row in rows]

    async def create(
        self, owner: str, conversation_id: str, title: str, user_id: str | None, now: datetime
    ) -> Conversation:
        """Create an empty conversation; its id must be new.

        An empty `title` is replaced by one from the first question.
        """
        created = Conversation(
            id=conversation_id, title=title, created_at=now, updated_at=now, user_id=user_id
        )
        scope = Scope(owner)
        statement = scope.insert(conversations, **asdict(created))
        await self._database.execute(statement, "change_conversation", scope)
        return created

    async def rename(self, owner: str, conversation_id: str, title: str, now: datetime) -> bool:
        """Set the title; return False if the conversation does not exist."""
        scope = Scope(owner)
        statement = scope.update(conversations, title=title, updated_at=now).where(
            conversations.c.id == conversation_id
        )
        return await self._database.execute(statement, "change_conversation", scope) > 0

    async def delete(
        self, owner: str, conversation_id: str, audit: Sequence[AuditEntry] = ()
    ) -> bool:
        """Delete the conversation with its runs; return False if it does not exist.

        The entries of the audit log are appended in the same transaction.

        In SQLite the text is also erased from the file and the write-ahead log, unless a
        concurrent reader prevents it.
        """
        scope = Scope(owner)
        statement = scope.delete(conversations).where(conversations.c.id == conversation_id)
        # Lock the runs first, as the journal does; the opposite order can deadlock.
        run_ids = scope.select(runs, runs.c.id).where(runs.c.conversation_id == conversation_id)

        async def work(connection: AsyncConnection) -> bool:
            await enable_secure_delete(connection)
            await connection.execute(run_ids.order_by(runs.c.id).with_for_update())
            is_found = (await connection.execute(statement)).rowcount > 0
            if is_found:
                await append(audit, connection)
            return is_found

        is_deleted = await self._database.write(work, "change_conversation", scope)
        if is_deleted:
            await purge_deleted_text(self._database)
        return is_deleted


async def _read_page(
    scope: Scope, limit: int, offset: int, before: Position | None, connection: AsyncConnection
) -> Page[Conversation]:
    total = await count_rows(connection, scope, "conversations")
    # First the ids, from the index alone, then only the rows of the page.
    keys = scope.select(conversations, *_ORDER)
    found: Iterable[Row[Any]]
    if before is None:
        part = Slice(total, limit, offset)
        found = await fetch_newest_first(connection, keys, _ORDER, part)
    else:
        newest_first = _select_older(keys, before).order_by(*(each.desc() for each in _ORDER))
        found = await connection.execute(newest_first.limit(limit).offset(offset))
    return Page(await _read_by_ids(scope, [row.id for row in found], connection), total)


def _select_older(keys: Select[Any], before: Position | None) -> Select[Any]:
    """Return the query for conversations that follow a position in the order of lists."""
    if before is None:
        return keys
    values = (literal(value, column.type) for value, column in zip(before, _ORDER, strict=True))
    return keys.where(tuple_(*_ORDER) < tuple_(*values))


async def _read_for_users(
    scope: Scope,
    queries: Iterable[Select[Any]],
    limit: int,
    offset: int,
    connection: AsyncConnection,
) -> list[Conversation]:
    keys = union_all(*(each.subquery().select() for each in queries)).subquery().select()
    newest = keys.order_by(*(keys.selected_columns[name].desc() for name in ("updated_at", "id")))
    found = await connection.execute(newest.limit(limit).offset(offset))
    return await _read_by_ids(scope, [row.id for row in found], connection)


def _select_of_user(scope: Scope, user_id: str | None) -> Select[Any]:
    """Return a query that reads a user's conversations from the end of the index."""
    columns = [conversations.c.user_id, conversations.c.updated_at, conversations.c.id]
    # Order by the user too: PostgreSQL does not infer the index order for `user_id IS NULL`.
    order = [column.desc() for column in columns]
    return scope.select(conversations, *columns).where(columns[0] == user_id).order_by(*order)


async def _read_by_ids(
    scope: Scope, ids: Sequence[str], connection: AsyncConnection
) -> list[Conversation]:
    found = await connection.execute(scope.select(conversations).where(conversations.c.id.in_(ids)))
    by_id = {row.id: _make_conversation(row) for row in found}
    return [by_id[each] for each in ids]


def _make_conversation(row: Row[Any]) -> Conversation:
    return Conversation(
        id=row.id,
        title=row.title,
        created_at=row.created_at,
        updated_at=row.updated_at,
        user_id=row.user_id,
    )
