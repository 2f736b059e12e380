"""The turns of a conversation: its initial messages, then each question and its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.messages import restore_question
from service.store.lists.long_texts import measure, split
from service.store.records import ConversationTurn, FirstTurns
from service.store.rows import (
    DEGRADATION_COLUMNS,
    decode_degraded_by,
    decode_missing,
    decode_tool_calls,
    read_preceding,
)
from service.store.schema import messages, runs
from service.store.scope import Scope

_TURN_COLUMNS = (
    runs.c.id, runs.c.owner, runs.c.state, runs.c.question, runs.c.answer, runs.c.error,
    runs.c.created_at, runs.c.ended_at, runs.c.whole, runs.c.tool_calls, runs.c.particulars,
    runs.c.finish_reason, *DEGRADATION_COLUMNS,
)  # fmt: skip
_LONG_COLUMNS = (
    runs.c.question, runs.c.answer, runs.c.whole, runs.c.tool_calls, runs.c.particulars,
)  # fmt: skip


async def read_first_turns(
    scope: Scope, conversation_id: str, connection: AsyncConnection
) -> FirstTurns:
    """Return the initial messages of a conversation and the turns of its first runs."""
    initial = await connection.execute(
        scope.select(messages)
        .where(messages.c.conversation_id == conversation_id)
        .order_by(messages.c.position)
    )
    turns = [
        ConversationTurn(role=row.role, content=row.content, created_at=row.created_at)
        for row in initial
    ]
    size = measure(connection, *_LONG_COLUMNS).label("size")
    sizes = await connection.execute(
        scope.select(runs, runs.c.id, size)
        .where(runs.c.conversation_id == conversation_id, runs.c.superseded_by.is_(None))
        .order_by(runs.c.id)
    )
    first, *unread = split([(row.id, row.size) for row in sizes]) or [[]]
    return FirstTurns([*turns, *await read_turns(scope, first, connection)], unread)


async def read_turns(
    scope: Scope, run_ids: Sequence[str], connection: AsyncConnection
) -> list[ConversationTurn]:
    """Return the turns of some runs of one conversation, in order."""
    if not run_ids:
        return []
    rows = await connection.execute(scope.select_keys(_TURN_COLUMNS, run_ids))
    ordered = sorted(rows, key=lambda row: str(row.id))
    return [turn for row in ordered for turn in _make_turns(row)]


def _make_turns(row: Row[Any]) -> Iterator[ConversationTurn]:
    for each in read_preceding(row.particulars):
        yield ConversationTurn(role=each.role, content=each.content, created_at=row.created_at)
    yield ConversationTurn(
        role=restore_question(row.question, row.whole).role,
        content=row.question,
        created_at=row.created_at,
        run_id=row.id,
        state=row.state,
    )
    if row.answer or row.tool_calls or row.state in ("failed", "interrupted"):
        yield ConversationTurn(
            role="assistant",
            content=row.answer,
            created_at=row.ended_at or row.created_at,
            run_id=row.id,
            state=row.state,
            error=row.error,
            finish_reason=row.finish_reason,
            tool_calls=decode_tool_calls(row.tool_calls),
            missing=decode_missing(row),
            degraded_by=decode_degraded_by(row),
        )
