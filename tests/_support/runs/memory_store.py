"""A store in memory, for tests on the event loop that skips waits.

Its parts are subclasses of the real ones that use dictionaries. They pass the same contract tests
(tests/store/test_runs.py, test_workers.py, journal/test_writer.py), and a test can make them
refuse, hang, or commit without a confirmation.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from service.conversation import Branch
from service.domain import Message, Usage
from service.errors import StorageUnavailable
from service.settings import Settings
from service.store.budgets.budgets import Budgets
from service.store.budgets.ledger import Ledger
from service.store.budgets.records import BudgetDemand, BudgetShortage, BudgetUnit
from service.store.database import Database
from service.store.journal.batch import Batch, LateEvents, Written
from service.store.journal.claims import Claims, admit
from service.store.journal.writer import JournalWriter, settle_all
from service.store.records import (
    FIRST_ATTEMPT,
    AgentAnswer,
    KnownKey,
    NewRun,
    RunEnd,
    Segment,
    StoredRun,
)
from service.store.rows import encode_run
from service.store.runs import RunStore
from service.store.store import Store, open_store
from service.store.workers import Signal, WorkerBeat, Workers
from telemetry import Telemetry, TelemetryConfig
from tests._support.llm.scripted import now
from tests._support.runs.store_records import Parts

TIMEOUT_S = 4.0

Owned = tuple[str, str]  # an owner and an id, or a key


def next_millisecond() -> None:
    """Wait until a new id sorts behind all existing ones."""
    time.sleep(0.002)


class Gate:
    """Every read, or every write, passes this gate; a test can make it refuse or wait."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.confirms = True  # when False, a write is applied but raises an error
        self._fault: str | None = None
        self._free = asyncio.Event()
        self._free.set()

    def shut(self, fault: str = "The database is down.") -> None:
        """Refuse every access at once."""
        self._fault = fault

    def stall(self) -> None:
        """Let every access wait; it is refused after the time limit."""
        self._free.clear()

    def reopen(self) -> None:
        self._fault = None
        self._free.set()

    async def enter(self) -> None:
        """Raises StorageUnavailable."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                await self._free.wait()
        if not self._free.is_set():
            raise StorageUnavailable("The database is slow.")
        if self._fault:
            raise StorageUnavailable(self._fault, reason="down")

    def leave(self) -> None:
        """Raise StorageUnavailable after a write that is applied but has lost its reply."""
        if not self.confirms:
            raise StorageUnavailable("The connection broke.", reason="down")


@dataclass
class Tables:
    """The rows. `conversations` has the time of creation of each."""

    runs: dict[str, StoredRun] = field(default_factory=dict)
    expire_at: dict[str, datetime] = field(default_factory=dict)
    conversations: dict[Owned, datetime] = field(default_factory=dict)
    initial_messages: dict[Owned, list[Message]] = field(default_factory=dict)
    segments: dict[str, dict[int, Segment]] = field(default_factory=dict)
    answers: dict[str, dict[str, AgentAnswer]] = field(default_factory=dict)
    keys: dict[Owned, KnownKey] = field(default_factory=dict)
    signals: dict[str, Signal] = field(default_factory=dict)
    beats: dict[str, WorkerBeat] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger({}))
    findings: dict[str, str | None] = field(default_factory=dict)
    recordings: dict[str, bytes | None] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)

    def own(self, owner: str, run_id: str) -> StoredRun | None:
        run = self.runs.get(run_id)
        return run if run is not None and run.owner == owner else None

    def delete(self, run_id: str) -> None:
        """Delete a run and what belongs to it."""
        of_runs = (self.runs, self.expire_at, self.segments, self.answers, self.signals)
        for table in of_runs:
            table.pop(run_id, None)
        self.keys = {key: known for key, known in self.keys.items() if known.run_id != run_id}


class Memory:
    """A store. `batches` are those that were committed, `committed_at` when, in loop time.

    A batch that is `impossible` can never be written. With `tables`, those of another store, it is
    the access of another machine to the same rows.
    """

    def __init__(self, tables: Tables | None = None) -> None:
        self.reading, self.writing = Gate(), Gate()
        self.tables = tables or Tables()
        self.batches: list[Batch] = []
        self.committed_at: list[float] = []
        self.impossible: Callable[[Batch], bool] = lambda batch: False
        database = Database("sqlite:////dev/null")  # not to be connected to
        self.journal = MemoryJournal(database, self)
        self.runs = MemoryRuns(database, self)
        self.workers = MemoryWorkers(database, self)
        self.budgets = MemoryBudgets(database, self)

    def store(self) -> Store:
        """Return a store of these parts; the others have no database behind them."""
        settings = Settings(database_url="sqlite:////dev/null")  # type: ignore[arg-type]
        opened = open_store(settings, Telemetry(TelemetryConfig()))
        return replace(
            opened,
            journal=self.journal,
            runs=self.runs,
            workers=self.workers,
            budgets=self.budgets,
        )

    @property
    def the_run(self) -> StoredRun:
        """The only run there is."""
        (run,) = self.tables.runs.values()
        return run

    def age(self, seconds: float) -> None:
        """Make all rows older by `seconds`."""
        by, tables = timedelta(seconds=seconds), self.tables
        tables.expire_at = {run: at - by for run, at in tables.expire_at.items()}
        tables.keys = {
            key: replace(known, expires_at=known.expires_at - by)
            for key, known in tables.keys.items()
        }


class MemoryParts(Parts):
    """The parts of a memory store, in which no two runs begin in the same millisecond.

    Ids of the same millisecond are in no order. A database is never that fast.
    """

    async def create_run(self, question: str = "What?", **fields: Any) -> NewRun:
        next_millisecond()
        return await super().create_run(question, **fields)

    async def finish_run(self, answer: str = "An answer.", **fields: Any) -> NewRun:
        next_millisecond()
        return await super().finish_run(answer, **fields)


def memory_parts() -> MemoryParts:
    memory = Memory()
    return MemoryParts(memory.store().database, memory.journal, memory.runs, memory.workers)


class MemoryJournal(JournalWriter):
    def __init__(self, database: Database, memory: Memory) -> None:
        super().__init__(database)
        self._memory = memory

    async def write(self, batch: Batch) -> Written:
        await self._memory.writing.enter()
        if self._memory.impossible(batch):
            raise ValueError("this batch can never be written")
        tables = self._memory.tables
        successors = {run.id: run.superseded_by for run in tables.runs.values()}
        ledger = tables.ledger
        new = admit(batch.openings, Claims(dict(tables.keys), successors), ledger)
        for opening in new.admitted:
            _open(tables, opening)
        fenced = _add(tables, batch)
        settle_all(batch.endings, fenced, ledger)
        for run_id in batch.dropped:
            _drop(tables, run_id)
            ledger.settle(run_id, {})
        self._memory.batches.append(batch)
        self._memory.committed_at.append(now())
        self._memory.writing.leave()
        return Written(new.conflicts, fenced, new.budgets)

    async def add_late(self, late: LateEvents) -> bool:
        await self._memory.writing.enter()
        tables, new = self._memory.tables, late.segment
        run = tables.own(new.owner, new.run_id)
        if (
            run is None
            or run.state == "running"
            or run.events_expired
            or run.interrupted_at != new.first_seq - 1
            or run.attempt <= new.attempt
        ):
            return False
        tables.segments.setdefault(run.id, {}).setdefault(new.first_seq, new)
        for answer in late.answers:
            tables.answers.setdefault(run.id, {}).setdefault(answer.agent, answer)
        tables.runs[run.id] = replace(
            run, interrupted_at=new.last_seq, answer=late.answer, tool_calls=late.tool_calls
        )
        return True


class MemoryRuns(RunStore):
    def __init__(self, database: Database, memory: Memory) -> None:
        super().__init__(database)
        self._memory = memory

    async def get(self, owner: str, run_id: str) -> StoredRun | None:
        return (await self._read()).own(owner, run_id)

    async def list_segments(self, owner: str, run_id: str, after: int = 0) -> list[Segment]:
        tables = await self._read()
        kept = tables.segments.get(run_id, {}) if tables.own(owner, run_id) else {}
        return [kept[first] for first in sorted(kept) if kept[first].last_seq > after]

    async def list_agent_answers(self, owner: str, run_id: str) -> list[AgentAnswer]:
        tables = await self._read()
        kept = tables.answers.get(run_id, {}) if tables.own(owner, run_id) else {}
        return sorted(kept.values(), key=lambda each: (each.created_at, each.agent))

    async def read_config(self, owner: str, run_id: str) -> Mapping[str, Any]:
        tables = await self._read()
        content = tables.configs.get(run_id) if tables.own(owner, run_id) else None
        return json.loads(content) if content else {}

    async def read_findings(self, owner: str, run_id: str) -> Mapping[str, Any]:
        tables = await self._read()
        found = tables.findings.get(run_id) if tables.own(owner, run_id) else None
        return json.loads(found) if found else {}

    async def read_recording(self, owner: str, run_id: str) -> bytes | None:
        tables = await self._read()
        return tables.recordings.get(run_id) if tables.own(owner, run_id) else None

    async def find_key(self, owner: str, key: str, now: datetime) -> KnownKey | None:
        known = (await self._read()).keys.get((owner, key))
        return known if known is not None and known.expires_at > now else None

    async def list_exchanges(
        self, owner: str, conversation_id: str, limit: int, before: str | None = None
    ) -> list[StoredRun]:
        tables = await self._read()
        found = [
            run
            for run in sorted(tables.runs.values(), key=lambda run: run.id)
            if (run.owner, run.conversation_id) == (owner, conversation_id)
            and run.state != "running"
            and run.superseded_by is None
            and (run.answer or run.tool_calls)
            and (before is None or run.id < before)
        ]
        return found[-limit:] if limit else []

    async def list_links(self, owner: str, conversation_id: str) -> list[tuple[str, str]]:
        wanted = (owner, conversation_id, None)
        return [
            (run.id, run.follows)
            for run in sorted((await self._read()).runs.values(), key=lambda run: run.id)
            if (run.owner, run.conversation_id, run.superseded_by) == wanted
        ]

    async def list_by_ids(self, owner: str, run_ids: Sequence[str]) -> list[StoredRun]:
        tables = await self._read()
        found = (tables.own(owner, run_id) for run_id in sorted(run_ids))
        return [run for run in found if run]

    async def find_latest_run_id(self, owner: str, conversation_id: str) -> str | None:
        wanted = (owner, conversation_id, None)
        return max(
            (
                run.id
                for run in (await self._read()).runs.values()
                if (run.owner, run.conversation_id, run.superseded_by) == wanted
            ),
            default=None,
        )

    async def list_initial_messages(self, owner: str, conversation_id: str) -> list[Message]:
        return list((await self._read()).initial_messages.get((owner, conversation_id), []))

    async def request_stop(self, owner: str, run_id: str) -> None:
        await self._signal(owner, run_id, lambda known: replace(known, stop=True))

    async def mark_watched(self, owner: str, run_id: str) -> None:
        await self._signal(owner, run_id, lambda known: replace(known, watched=known.watched + 1))

    async def _signal(self, owner: str, run_id: str, change: Callable[[Signal], Signal]) -> None:
        await self._memory.writing.enter()
        tables = self._memory.tables
        run = tables.own(owner, run_id)
        if run is not None and run.state == "running":
            known = tables.signals.get(run_id, Signal(run_id, stop=False, watched=0))
            tables.signals[run_id] = change(known)

    async def _read(self) -> Tables:
        await self._memory.reading.enter()
        return self._memory.tables


class MemoryWorkers(Workers):
    def __init__(self, database: Database, memory: Memory) -> None:
        super().__init__(database)
        self._memory = memory

    async def register(self, worker_id: str, lease_s: float) -> bool:
        beats = (await self._write()).beats
        known = beats.get(worker_id)
        beats[worker_id] = WorkerBeat(worker_id, ((known and known.beat) or 0) + 1, lease_s)
        return known is not None

    async def take_signals(self, worker_id: str) -> list[Signal]:
        tables = await self._write()
        found = [
            signal
            for run_id, signal in tables.signals.items()
            if tables.runs[run_id].worker_id == worker_id
        ]
        for signal in found:
            if signal.stop:
                del tables.signals[signal.run_id]
        return found

    async def list_unfinished_runs(self, worker_id: str) -> list[StoredRun]:
        running = _running(await self._read())
        return sorted((r for r in running if r.worker_id == worker_id), key=lambda run: run.id)

    async def list_beats(self, except_for: str) -> list[WorkerBeat]:
        tables = await self._read()
        unknown = {run.worker_id for run in _running(tables)} - set(tables.beats)
        beats = [*tables.beats.values(), *(WorkerBeat(each, None) for each in unknown)]
        found = (each for each in beats if each.worker_id != except_for)
        return sorted(found, key=lambda each: each.worker_id)

    async def take_over(self, stale: WorkerBeat, by: str) -> bool:
        tables = await self._write()
        known = tables.beats.get(stale.worker_id)
        if (known and known.beat) != stale.beat:
            return False
        tables.beats.pop(stale.worker_id, None)
        for run in list(_running(tables)):
            if run.worker_id == stale.worker_id:
                tables.runs[run.id] = replace(run, worker_id=by, attempt=run.attempt + 1)
        return True

    async def list_running_ids(self, worker_id: str) -> list[str]:
        return [run.id for run in _running(await self._read()) if run.worker_id == worker_id]

    async def list_taken_over(self, run_ids: Sequence[str]) -> list[StoredRun]:
        tables = await self._read()
        found = (tables.runs[run_id] for run_id in run_ids if run_id in tables.runs)
        return [run for run in found if run.attempt > FIRST_ATTEMPT]

    async def deregister(self, worker_id: str) -> None:
        (await self._write()).beats.pop(worker_id, None)

    async def delete_expired(self, now: datetime) -> int:
        tables = await self._write()
        tables.keys = {key: known for key, known in tables.keys.items() if known.expires_at > now}
        due = [
            run_id
            for run_id, at in tables.expire_at.items()
            if at <= now and not tables.runs[run_id].events_expired
        ]
        for run_id in due:
            tables.segments.pop(run_id, None)
            tables.runs[run_id] = replace(tables.runs[run_id], events_expired=True)
        return len(due)

    async def _read(self) -> Tables:
        await self._memory.reading.enter()
        return self._memory.tables

    async def _write(self) -> Tables:
        await self._memory.writing.enter()
        return self._memory.tables


class MemoryBudgets(Budgets):
    def __init__(self, database: Database, memory: Memory) -> None:
        super().__init__(database)
        self._memory = memory

    async def extend(
        self, run_id: str, demands: Sequence[BudgetDemand], more: Mapping[BudgetUnit, int]
    ) -> BudgetShortage | None:
        await self._memory.writing.enter()
        return self._memory.tables.ledger.extend(run_id, demands, more)


def _running(tables: Tables) -> Iterable[StoredRun]:
    return (run for run in tables.runs.values() if run.state == "running")


# --- changes of a batch ---

_OF_A_RUN = {each.name for each in fields(StoredRun)} - {"interrupted_at"}
_OF_AN_ENDING = {each.name for each in fields(RunEnd)} & {f.name for f in fields(StoredRun)}
_OF_AN_ENDING -= {"run_id", "owner", "attempt"}


def _open(tables: Tables, opening: NewRun) -> None:
    ask = opening.ask
    row = encode_run(opening)
    tables.configs[opening.run_id] = opening.config
    values: dict[str, Any] = {name: row.get(name) for name in _OF_A_RUN} | {
        "usage": Usage(),
        "raw": row["whole"],
        "options": ask.options,
        "preceding": opening.preceding,
        "follows": ask.history.after if isinstance(ask.history, Branch) else "",
        "tool_calls": (),
        "missing": (),
        "degraded_by": (),
    }
    conversation = ask.owner, ask.conversation_id
    tables.conversations.setdefault(conversation, opening.created_at)
    tables.runs.setdefault(opening.run_id, StoredRun(**values))
    if opening.initial_messages:
        tables.initial_messages.setdefault(conversation, list(opening.initial_messages))
    retried = tables.own(ask.owner, opening.retry_of) if opening.retry_of else None
    if retried is not None and retried.superseded_by is None:
        tables.runs[retried.id] = replace(retried, superseded_by=opening.run_id)
    if opening.key:
        tables.keys[ask.owner, opening.key.key] = KnownKey(
            opening.key.fingerprint, opening.run_id, opening.key.expires_at
        )


def _add(tables: Tables, batch: Batch) -> frozenset[str]:
    """Add the rows of current attempts; return the runs that have a later one."""
    attempts = {run_id: run.attempt for run_id, run in tables.runs.items()}
    fenced = {row.run_id for row in batch.rows if attempts.get(row.run_id, 0) > row.attempt}
    running = {run_id for run_id, run in tables.runs.items() if run.state == "running"} - fenced
    for segment in batch.segments:
        if segment.run_id in running:
            tables.segments.setdefault(segment.run_id, {}).setdefault(segment.first_seq, segment)
    for answer in batch.answers:
        if answer.run_id in running:
            tables.answers.setdefault(answer.run_id, {}).setdefault(answer.agent, answer)
    for ending in batch.endings:
        run = tables.own(ending.owner, ending.run_id)
        if run is not None and run.id in running:
            values = {name: getattr(ending, name) for name in _OF_AN_ENDING}
            tables.runs[run.id] = replace(run, **values)
            tables.expire_at[run.id] = ending.events_expire_at
            tables.findings[run.id] = ending.findings
            tables.recordings[run.id] = ending.recording
            tables.signals.pop(run.id, None)
    return frozenset(fenced)


def _drop(tables: Tables, run_id: str) -> None:
    run = tables.runs.get(run_id)
    if run is None:
        return
    tables.delete(run_id)
    retried = tables.own(run.owner, run.retry_of) if run.retry_of else None
    if retried is not None and retried.superseded_by == run_id:
        tables.runs[retried.id] = replace(retried, superseded_by=None)
    conversation = run.owner, run.conversation_id
    others = {(each.owner, each.conversation_id) for each in tables.runs.values()}
    if conversation not in others and tables.conversations[conversation] == run.created_at:
        del tables.conversations[conversation]
        tables.initial_messages.pop(conversation, None)
