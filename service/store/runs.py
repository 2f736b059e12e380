"""Queries for one run and its conversation, limited to the run's owner."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain import Message
from service.store.database import Database
from service.store.records import AgentAnswer, KnownKey, Segment, StoredRun
from service.store.rows import ANSWER_COLUMNS, RUN_COLUMNS, decode_agent_answer, decode_run
from service.store.schema import (
    agent_answers,
    configs,
    idempotency_keys,
    messages,
    runs,
    segments,
    signals,
)
from service.store.scope import Scope


class RunStore:
    """Runs, their events and keys. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, owner: str, run_id: str) -> StoredRun | None:
        """Return the run, None if the owner has none with this id."""
        scope = Scope(owner)
        statement = scope.select(runs, *RUN_COLUMNS).where(runs.c.id == run_id)
        rows = await self._database.fetch_all(statement, access=scope)
        return decode_run(rows[0]) if rows else None

    async def read_findings(self, owner: str, run_id: str) -> Mapping[str, Any]:
        """Return the findings of a run's strategy: its analysis, votes, ranking and the like."""
        scope = Scope(owner)
        statement = scope.select(runs, runs.c.findings).where(runs.c.id == run_id)
        rows = await self._database.fetch_all(statement, access=scope)
        found: Mapping[str, Any] = json.loads(rows[0].findings) if rows and rows[0].findings else {}
        return found

    async def read_config(self, owner: str, run_id: str) -> Mapping[str, Any]:
        """Return the ensemble of a run as it was, as JSON; empty for an unknown run."""
        scope = Scope(owner)
        statement = (
            scope.select(runs, configs.c.content)
            .select_from(runs.join(configs, configs.c.hash == runs.c.config_hash))
            .where(runs.c.id == run_id)
        )
        rows = await self._database.fetch_all(statement, access=scope)
        content: Mapping[str, Any] = json.loads(rows[0].content) if rows else {}
        return content

    async def read_recording(self, owner: str, run_id: str) -> bytes | None:
        """Return the recording of a run that has ended; None when it has none."""
        scope = Scope(owner)
        statement = scope.select(runs, runs.c.recording).where(runs.c.id == run_id)
        rows = await self._database.fetch_all(statement, access=scope)
        return rows[0].recording if rows else None

    async def list_segments(self, owner: str, run_id: str, after: int = 0) -> list[Segment]:
        """Return the segments with events after `after`, in order.

        The first segment may also contain earlier events.
        """
        scope = Scope(owner)
        statement = (
            scope.select(segments)
            .where(segments.c.run_id == run_id, segments.c.last_seq > after)
            .order_by(segments.c.first_seq)
        )
        return [
            _make_segment(row)
            for row in await self._database.fetch_all(statement, "read_events", scope)
        ]

    async def list_agent_answers(self, owner: str, run_id: str) -> list[AgentAnswer]:
        """Return the results of the run's agents in order of completion."""
        scope = Scope(owner)
        statement = (
            scope.select(agent_answers, *ANSWER_COLUMNS)
            .where(agent_answers.c.run_id == run_id)
            .order_by(agent_answers.c.created_at, agent_answers.c.agent)
        )
        return [
            decode_agent_answer(row)
            for row in await self._database.fetch_all(statement, access=scope)
        ]

    async def find_key(self, owner: str, key: str, now: datetime) -> KnownKey | None:
        """Return an Idempotency-Key that has not expired, with its run."""
        scope = Scope(owner)
        statement = scope.select(idempotency_keys).where(
            idempotency_keys.c.key == key, idempotency_keys.c.expires_at > now
        )
        rows = await self._database.fetch_all(statement, access=scope)
        return KnownKey(rows[0].fingerprint, rows[0].run_id, rows[0].expires_at) if rows else None

    async def list_exchanges(
        self, owner: str, conversation_id: str, limit: int, before: str | None = None
    ) -> list[StoredRun]:
        """Return the conversation's last `limit` answered runs, oldest first.

        Running and superseded runs are excluded; with `before`, a run id, so are later runs.
        """
        scope = Scope(owner)
        statement = (
            scope.select(runs, *RUN_COLUMNS)
            .where(
                runs.c.conversation_id == conversation_id,
                runs.c.state != "running",
                runs.c.superseded_by.is_(None),
                (runs.c.answer != "") | runs.c.tool_calls.is_not(None),
            )
            .order_by(runs.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            statement = statement.where(runs.c.id < before)
        rows = await self._database.fetch_all(statement, "read_conversation", scope)
        return [decode_run(row) for row in reversed(rows)]

    async def list_links(self, owner: str, conversation_id: str) -> list[tuple[str, str]]:
        """Return the ids of the conversation's runs in any state, oldest first.

        With each the run that it follows, "" for the one before it. Superseded runs are excluded.
        """
        scope = Scope(owner)
        statement = (
            scope.select(runs, runs.c.id, runs.c.particulars)
            .where(runs.c.conversation_id == conversation_id, runs.c.superseded_by.is_(None))
            .order_by(runs.c.id)
        )
        rows = await self._database.fetch_all(statement, "read_conversation", scope)
        particulars = [json.loads(row.particulars or "{}") for row in rows]
        return [
            (row.id, each.get("follows", "")) for row, each in zip(rows, particulars, strict=True)
        ]

    async def list_by_ids(self, owner: str, run_ids: Sequence[str]) -> list[StoredRun]:
        """Return these runs, oldest first."""
        scope = Scope(owner)
        statement = scope.select(runs, *RUN_COLUMNS).where(runs.c.id.in_(run_ids))
        rows = await self._database.fetch_all(statement.order_by(runs.c.id), access=scope)
        return [decode_run(row) for row in rows]

    async def find_latest_run_id(self, owner: str, conversation_id: str) -> str | None:
        """Return the id of the conversation's newest run, in any state."""
        scope = Scope(owner)
        statement = (
            scope.select(runs, runs.c.id)
            .where(runs.c.conversation_id == conversation_id, runs.c.superseded_by.is_(None))
            .order_by(runs.c.id.desc())
            .limit(1)
        )
        rows = await self._database.fetch_all(statement, "read_conversation", scope)
        return rows[0].id if rows else None

    async def list_initial_messages(self, owner: str, conversation_id: str) -> list[Message]:
        """Return the earlier turns that the conversation's first request contained."""
        scope = Scope(owner)
        statement = (
            scope.select(messages, messages.c.role, messages.c.content, messages.c.whole)
            .where(messages.c.conversation_id == conversation_id)
            .order_by(messages.c.position)
        )
        rows = await self._database.fetch_all(statement, "read_conversation", scope)
        return [Message(row.role, row.content, row.whole) for row in rows]

    async def request_stop(self, owner: str, run_id: str) -> None:
        """Request that the run's worker stops it; no effect if it is not running."""
        await self._write_signal(owner, run_id, {"stop": True})

    async def mark_watched(self, owner: str, run_id: str) -> None:
        """Signal the run's worker that it has a reader; no effect if it is not running.

        The marks are counted: two workers' clocks can differ by any time.
        """
        await self._write_signal(owner, run_id, {"watched": signals.c.watched + 1})

    async def _write_signal(self, owner: str, run_id: str, changes: dict[str, Any]) -> None:
        scope = Scope(owner)
        work = partial(_upsert_signal, scope, run_id, changes)
        await self._database.write(work, "signal_run", scope)


def _make_segment(row: Row[Any]) -> Segment:
    return Segment(
        run_id=row.run_id,
        owner=row.owner,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        data=row.data,
    )


async def _upsert_signal(
    scope: Scope, run_id: str, changes: dict[str, Any], connection: AsyncConnection
) -> None:
    of_run = scope.select(runs, runs.c.worker_id).where(
        runs.c.id == run_id, runs.c.state == "running"
    )
    # The lock keeps the run from ending, which deletes its signals, before this one is written.
    worker_id = await connection.scalar(of_run.with_for_update(key_share=True))
    if worker_id is None:
        return
    updated = await connection.execute(
        scope.update(signals, **changes).where(signals.c.run_id == run_id)
    )
    if not updated.rowcount:
        row = {"stop": "stop" in changes, "watched": int("watched" in changes)}
        await connection.execute(scope.insert(signals, run_id=run_id, worker_id=worker_id, **row))
