"""Store records with defaults, and the store parts that contract tests use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from service.access.principal import Principal
from service.conversation import NewConversation
from service.domain import AgentReport, Message, RunRequest, Usage
from service.ids import new_id
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import AgentAnswer, NewKey, NewRun, RunEnd, Segment
from service.store.runs import RunStore
from service.store.workers import Workers

NOW = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)
ME = "me"
OTHER_OWNER = "somebody else"
ALL_STORE_KINDS = ["sqlite", "postgresql", "memory"]  # that a contract test runs on


@dataclass(frozen=True)
class Parts:
    """The parts of a store that its tests use together."""

    database: Database
    journal: JournalWriter
    runs: RunStore
    workers: Workers

    async def create_run(self, question: str = "What?", **fields: Any) -> NewRun:
        """Write a running run and return it."""
        run = make_run(question, **fields)
        await self.journal.write(Batch(openings=[run]))
        return run

    async def finish_run(self, answer: str = "An answer.", **fields: Any) -> NewRun:
        """Write a run with an answer and return its start."""
        run = make_run(**fields)
        await self.journal.write(Batch(openings=[run], endings=[make_run_end(run, answer=answer)]))
        return run


def make_run(
    question: str = "What?",
    *,
    owner: str = ME,
    conversation: str | None = None,
    worker: str = "worker",
    **fields: Any,
) -> NewRun:
    run_id = new_id("run")
    ask = RunRequest(
        messages=(Message("user", question),),
        message_id="message",
        history=NewConversation(conversation or new_id("conv")),
        ensemble="fanout",
        principal=Principal(owner=owner),
    )
    record = NewRun(
        run_id=run_id,
        worker_id=worker,
        ask=ask,
        ensemble="fanout",
        config_hash="hash",
        config='{"agents": []}',
        trace_id="0" * 32,
        created_at=NOW,
    )
    return replace(record, **fields)


def make_run_end(run: NewRun, **fields: Any) -> RunEnd:
    record = RunEnd(
        run_id=run.run_id,
        owner=run.ask.owner,
        state="completed",
        answer="An answer.",
        usage=Usage(10, 20),
        cost_usd=0.25,
        elapsed_ms=12.5,
        ended_at=NOW + timedelta(seconds=1),
        last_seq=9,
        events_expire_at=NOW + timedelta(days=1),
    )
    return replace(record, **fields)


def make_segment(run: NewRun, first: int, last: int, data: bytes = b"[]\n") -> Segment:
    return Segment(
        run_id=run.run_id, owner=run.ask.owner, first_seq=first, last_seq=last, data=data
    )


def make_agent_answer(run: NewRun, agent: str = "llm-1", text: str = "Said.") -> AgentAnswer:
    report = AgentReport(
        agent=agent,
        model="model",
        text=text,
        usage=Usage(1, 2),
        cost=0.5,
        elapsed_ms=3.0,
        first_token_ms=1.0,
    )
    return AgentAnswer(
        run_id=run.run_id,
        owner=run.ask.owner,
        agent=agent,
        state="answered",
        report=report,
        config_hash="of the agent",
        created_at=NOW,
    )


def make_key(name: str = "key", **fields: Any) -> NewKey:
    record = NewKey(key=name, fingerprint=b"body", expires_at=NOW + timedelta(hours=1))
    return replace(record, **fields)
