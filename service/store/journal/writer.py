"""Writes a batch of many runs' rows in one transaction and few statements.

Writing a batch twice has no effect, so a batch is written again when its commit may have failed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain import RunRequest
from service.store.database import Database
from service.store.journal import statements as sql
from service.store.journal.batch import Batch
from service.store.journal.claims import Claims, admit
from service.store.records import KeyConflict, KnownKey, NewKey, NewRun, Segment
from service.store.rows import encode_agent_answer, encode_run, encode_run_end
from telemetry import StoreOperation, Workflow
from telemetry.spans.store import StoreOperationName

_TITLE_CHARS = 80

Values = Mapping[str, Any]
Running = Mapping[str, Row[*tuple[Any, ...]]]  # by run id


class JournalWriter:
    """The only writer of runs, their events, answers and ends."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inserts = sql.Inserts(database.dialect)
        self._lock_number = secrets.randbits(63)

    def operation(self, name: StoreOperationName, parent: Workflow | None = None) -> StoreOperation:
        """Start to measure a caller's wait for the commit of its batch."""
        return self._database.operation(name, parent)

    async def write(self, batch: Batch) -> dict[str, KeyConflict]:
        """Commit the batch; return the conflicts of new runs, by run id.

        A new run has a conflict, and is not written, when its key or the run that it retries has
        another run already. Rows of a run that was deleted or has ended are left out.
        Raises StorageUnavailable when the database cannot be written now. Any other database
        error is raised as it is: this batch can never be committed, and the caller may split it.
        """
        return await self._database.write(partial(self._write, batch), "commit")

    async def _write(self, batch: Batch, connection: AsyncConnection) -> dict[str, KeyConflict]:
        conflicts: dict[str, KeyConflict] = {}
        await self._lock(connection, batch.openings)
        if batch.openings:
            claims = await _load_claims(connection, batch.openings)
            admitted, conflicts = admit(batch.openings, claims)
            await self._open(connection, admitted)
        await self._add(connection, batch)
        if batch.dropped:
            await _drop(connection, batch.dropped)
        return conflicts

    async def _lock(self, connection: AsyncConnection, openings: Iterable[NewRun]) -> None:
        # On SQLite the transaction itself is the lock.
        if connection.dialect.name == "postgresql":
            keys = {_lock_number(one.ask.owner, one.key.key) for one in openings if one.key}
            numbers = [self._lock_number, *sorted(keys)]
            await connection.execute(sql.LOCK, {"numbers": numbers})

    async def _open(self, connection: AsyncConnection, openings: Sequence[NewRun]) -> None:
        inserts = self._inserts
        conversations = sorted(map(_conversation_row, openings), key=_owner_and_id)
        await _execute_many(connection, inserts.conversation, conversations)
        await _execute_many(connection, inserts.config, _config_rows(openings))
        await _execute_many(connection, inserts.run, [encode_run(opening) for opening in openings])
        await _execute_many(
            connection, inserts.message, [row for one in openings for row in _message_rows(one)]
        )
        retries = [_supersede_row(opening) for opening in openings if opening.retry_of]
        await _execute_many(connection, sql.SUPERSEDE, retries)
        await _execute_many(
            connection, inserts.key, [_key_row(one, one.key) for one in openings if one.key]
        )

    async def _add(self, connection: AsyncConnection, batch: Batch) -> None:
        run_ids = {
            *(segment.run_id for segment in batch.segments),
            *(answer.run_id for answer in batch.answers),
            *(ending.run_id for ending in batch.endings),
        }
        if not run_ids:
            return
        running = await _load_running(connection, run_ids)
        segments = [_segment_row(each) for each in batch.segments if each.run_id in running]
        await _execute_many(connection, self._inserts.segment, segments)
        answers = [encode_agent_answer(each) for each in batch.answers if each.run_id in running]
        await _execute_many(connection, self._inserts.answer, answers)
        await _end(connection, batch, running)


async def _execute_many(
    connection: AsyncConnection, statement: Executable, rows: Sequence[Values]
) -> None:
    if rows:
        await connection.execute(statement, rows)


# --- new runs ---


async def _load_claims(connection: AsyncConnection, openings: Sequence[NewRun]) -> Claims:
    """Return the existing claims on the keys and retried runs; locked until the commit."""
    claims = Claims()
    keys = sorted({(one.ask.owner, one.key.key) for one in openings if one.key})
    if keys:
        for row in await connection.execute(sql.KNOWN_KEYS, {"keys": keys}):
            known = KnownKey(row.fingerprint, row.run_id, row.expires_at)
            claims.keys[row.owner, row.key] = known
    retried = sorted({one.retry_of for one in openings if one.retry_of})
    if retried:
        for row in await connection.execute(sql.RETRIED, {"ids": retried}):
            claims.successors[row.id] = row.superseded_by
    return claims


def _lock_number(owner: str, key: str) -> int:
    digest = hashlib.blake2b(repr((owner, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _owner_and_id(row: Values) -> tuple[str, str]:
    # All transactions lock rows in the same order, so that they cannot deadlock.
    return row["owner"], row["id"]


def _conversation_row(opening: NewRun) -> Values:
    return {
        "owner": opening.ask.owner,
        "id": opening.ask.conversation_id,
        "title": opening.ask.title or _make_title(opening.ask),
        "created_at": opening.created_at,
        "updated_at": opening.created_at,
        "user_id": opening.ask.user_id,
    }


def _make_title(ask: RunRequest) -> str:
    questions = [message.content for message in ask.messages if message.role == "user"]
    lines = (line.strip() for line in (questions[-1] if questions else ask.question).splitlines())
    return next(filter(None, lines), "")[:_TITLE_CHARS]


def _config_rows(openings: Iterable[NewRun]) -> Sequence[Values]:
    by_hash = {
        opening.config_hash: {
            "hash": opening.config_hash,
            "ensemble": opening.ensemble,
            "content": opening.config,
            "created_at": opening.created_at,
        }
        for opening in openings
    }
    return [by_hash[key] for key in sorted(by_hash)]


def _message_rows(opening: NewRun) -> Iterable[Values]:
    for position, message in enumerate(opening.initial_messages):
        yield {
            "owner": opening.ask.owner,
            "conversation_id": opening.ask.conversation_id,
            "position": position,
            "role": message.role,
            "content": message.content,
            "created_at": opening.created_at,
            "whole": message.raw,
        }


def _supersede_row(opening: NewRun) -> Values:
    return {"run": opening.retry_of, "of_owner": opening.ask.owner, "by": opening.run_id}


def _key_row(opening: NewRun, key: NewKey) -> Values:
    return {
        "owner": opening.ask.owner,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "run_id": opening.run_id,
        "expires_at": key.expires_at,
    }


# --- rows of running runs ---


async def _load_running(connection: AsyncConnection, run_ids: Iterable[str]) -> Running:
    rows = await connection.execute(sql.STILL_RUNNING, {"ids": sorted(run_ids)})
    return {row.id: row for row in rows}


def _segment_row(segment: Segment) -> Values:
    return {
        "run_id": segment.run_id,
        "owner": segment.owner,
        "first_seq": segment.first_seq,
        "last_seq": segment.last_seq,
        "data": segment.data,
    }


async def _end(connection: AsyncConnection, batch: Batch, running: Running) -> None:
    endings = [each for each in batch.endings if each.run_id in running]
    rows = [encode_run_end(each) for each in endings]
    await _execute_many(connection, sql.END_RUN, rows)
    await _execute_many(connection, sql.DELETE_SIGNALS, rows)
    touched = [
        {
            "of_owner": running[each.run_id].owner,
            "conversation": running[each.run_id].conversation_id,
            "at": each.ended_at,
        }
        for each in endings
    ]
    touched.sort(key=lambda row: (row["of_owner"], row["conversation"]))
    await _execute_many(connection, sql.TOUCH_CONVERSATION, touched)


async def _drop(connection: AsyncConnection, run_ids: Sequence[str]) -> None:
    """Delete runs and the conversations they created; reinstate the runs that they retried."""
    found = (await connection.execute(sql.DROPPED, {"ids": sorted(run_ids)})).all()
    rows = [
        {
            "run": row.id,
            "of_owner": row.owner,
            "conversation": row.conversation_id,
            "at": row.created_at,
        }
        for row in found
    ]
    retries = [
        {"run": row.retry_of, "of_owner": row.owner, "by": row.id} for row in found if row.retry_of
    ]
    await _execute_many(connection, sql.REINSTATE, retries)
    await _execute_many(connection, sql.DROP_RUN, rows)
    await _execute_many(connection, sql.DROP_CONVERSATION, rows)
