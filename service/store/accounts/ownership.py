"""All data of one owner: found, deleted, and transferred to another owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ids import new_id
from service.store.accounts.changes import write_audited
from service.store.audit.entries import AuditEntry
from service.store.database import Database
from service.store.evaluations.tables import evaluation_cache
from service.store.feedback.tables import feedback
from service.store.lists.paging import move_run_count
from service.store.runs import RunStore
from service.store.schema import (
    agent_answers,
    conversations,
    idempotency_keys,
    messages,
    runs,
    segments,
    signals,
)
from service.store.scope import ALL_OWNERS, Scope
from service.store.search.fts5 import enable_secure_delete, purge_deleted_text

_CONVERSATIONS_AT_ONCE: Final = 50
_REFERRING: Final[Sequence[Table]] = (
    messages, agent_answers, segments, signals, idempotency_keys, evaluation_cache, feedback, runs,
)  # fmt: skip
TRANSFERRED: Final[Sequence[Table]] = (conversations, *_REFERRING)
"""The tables with rows that a transfer changes. Sums of usage stay with their user."""

# Other writers wait until the commit: a run that started in between would be lost.
_LOCK: Final = sa.text("LOCK TABLE conversations, runs, feedback IN SHARE ROW EXCLUSIVE MODE")


class StillRunningError(Exception):
    """The owner has running runs. Their events still arrive under the old owner."""


@dataclass(frozen=True, slots=True)
class TransferredData:
    """The numbers of transferred rows. `renamed`: conversations that received another id."""

    conversations: int
    runs: int
    renamed: int

    def __bool__(self) -> bool:
        return True  # a transfer of nothing is an entry in the audit log too


class Ownership:
    """The conversations and runs of an owner. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._runs = RunStore(database)

    async def list_running(self, owner: str) -> Sequence[str]:
        """Return the ids of the owner's runs that have not ended."""
        scope = Scope(owner)
        statement = scope.select(runs, runs.c.id).where(runs.c.state == "running")
        rows = await self._database.fetch_all(statement, "read_conversation", scope)
        return [row.id for row in rows]

    async def find_owner_of_run(self, run_id: str) -> str | None:
        """Return the owner of a run, None for an unknown one. For operators, not for requests."""
        statement = sa.select(runs.c.owner).where(runs.c.id == run_id)
        rows = await self._database.fetch_all(statement, "read_conversation", ALL_OWNERS)
        return rows[0].owner if rows else None

    async def request_stops(self, owner: str, run_ids: Sequence[str]) -> None:
        """Signal the workers of these runs to stop them."""
        for run_id in run_ids:
            await self._runs.request_stop(owner, run_id)

    async def delete(self, owner: str) -> None:
        """Delete all conversations of the owner with their runs, some at a time.

        In SQLite the text is also erased from the file, as after the deletion of a conversation.
        """
        scope = Scope(owner)

        async def work(connection: AsyncConnection) -> bool:
            await enable_secure_delete(connection)
            some = scope.select(conversations, conversations.c.id).limit(_CONVERSATIONS_AT_ONCE)
            ids = (await connection.scalars(some)).all()
            # Lock the runs first, as the journal does; the opposite order can deadlock.
            of_some = scope.select(runs, runs.c.id).where(runs.c.conversation_id.in_(ids))
            await connection.execute(of_some.order_by(runs.c.id).with_for_update())
            gone = scope.delete(conversations).where(conversations.c.id.in_(ids))
            return (await connection.execute(gone)).rowcount > 0

        while await self._database.write(work, "change_conversation", scope):
            pass
        await purge_deleted_text(self._database)

    async def transfer(
        self, owner: str, heir: str, audit: Sequence[AuditEntry] = ()
    ) -> TransferredData:
        """Give all data of `owner` to `heir`, in one transaction.

        A conversation receives a new id where the heir has its id too, and an Idempotency-Key that
        the heir has too is dropped. Raises StillRunningError.
        """
        old, new = Scope(owner), Scope(heir)

        async def work(connection: AsyncConnection) -> TransferredData:
            if self._database.dialect == "postgresql":
                await connection.execute(_LOCK)
            running = old.select(runs, runs.c.id).where(runs.c.state == "running").limit(1)
            if await connection.scalar(running) is not None:
                raise StillRunningError
            renamed = await _rename_colliding(connection, old, new)
            copied = await _copy_conversations(connection, old, new)
            moved = await _move_rows(connection, old, new)
            await connection.execute(old.delete(conversations))
            await move_run_count(connection, owner, heir)
            return TransferredData(copied, moved, renamed)

        return await write_audited(self._database, work, audit, ALL_OWNERS)


async def _rename_colliding(connection: AsyncConnection, old: Scope, new: Scope) -> int:
    """Give new ids to conversations of the old owner where the new owner has their ids."""
    theirs = new.select(conversations, conversations.c.id)
    colliding = old.select(conversations).where(conversations.c.id.in_(theirs))
    rows = (await connection.execute(colliding)).mappings().all()
    for row in rows:
        fresh = {**row, "id": new_id("conv")}
        await connection.execute(sa.insert(conversations).values(fresh))
        for table in (messages, runs):
            change = old.update(table, conversation_id=fresh["id"])
            await connection.execute(change.where(table.c.conversation_id == row["id"]))
        gone = old.delete(conversations).where(conversations.c.id == row["id"])
        await connection.execute(gone)
    return len(rows)


async def _copy_conversations(connection: AsyncConnection, old: Scope, new: Scope) -> int:
    """Copy the conversations: a row that others refer to cannot change its key."""
    names = [column.name for column in conversations.columns]
    values: list[Any] = [
        sa.literal(new.owner) if column.name == "owner" else column
        for column in conversations.columns
    ]
    copies = old.select(conversations, *values)
    return (await connection.execute(sa.insert(conversations).from_select(names, copies))).rowcount


async def _move_rows(connection: AsyncConnection, old: Scope, new: Scope) -> int:
    """Change the owner of all rows; return the number of runs."""
    for keyed in (idempotency_keys, evaluation_cache):
        theirs = new.select(keyed, keyed.c.key)
        await connection.execute(old.delete(keyed).where(keyed.c.key.in_(theirs)))
    moved = 0
    for table in _REFERRING:  # runs are the last, and are counted
        moved = (await connection.execute(old.update(table, owner=new.owner))).rowcount
    return moved
