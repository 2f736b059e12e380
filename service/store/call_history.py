"""Times and lengths of the last answers of all agents.

The service's own view of all owners' rows: `Scope` does not restrict it, only the page of
administrators shows it, and it has no texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from service.store.database import Database
from service.store.schema import agent_answers
from service.store.scope import ALL_OWNERS


class _Tokens(msgspec.Struct):
    output_tokens: int = 0


class PastCall(msgspec.Struct):
    """An answered call of an agent; `config_hash` is that of its configuration."""

    agent: str
    model: str
    elapsed_ms: float
    first_token_ms: float | None = None
    usage: _Tokens = msgspec.field(default_factory=_Tokens)
    reused: bool = False
    config_hash: str = ""


class CallHistory:
    """The calls that the database has."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_recent(self, limit: int) -> Sequence[PastCall]:
        """Return the last `limit` answered calls, oldest first. Raises StorageUnavailable."""
        statement = (
            sa.select(agent_answers.c.report, agent_answers.c.config_hash)
            .where(agent_answers.c.state == "answered")
            .order_by(agent_answers.c.run_id.desc())  # ids sort by time
            .limit(limit)
        )
        rows = await self._database.fetch_all(statement, "maintain", ALL_OWNERS)
        calls = []
        for row in reversed(rows):
            call = msgspec.json.decode(row.report, type=PastCall)
            call.config_hash = row.config_hash
            calls.append(call)
        return calls
