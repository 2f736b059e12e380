"""Runs of scripted models, started and stored as the service does.

A `service` represents one process: it has a spool, a journal, and a store that may be shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from service.accounts.audit import Audit
from service.coalescing import CoalescingWindow
from service.domain import Message, RunRequest
from service.ensembles.catalog import Catalog
from service.errors import RequestError
from service.events import Event, RunFailed, RunFinished
from service.ids import new_id
from service.limits.rules import Rules
from service.llm.client import LLMClient
from service.llm.resilience import RetryBudget
from service.llm.tokens.counter import TokenCounter
from service.runs.budgets import RunBudgets
from service.runs.journal.journal import Journal
from service.runs.journal.spool import Spool
from service.runs.launcher import RunDependencies
from service.runs.log import Reader, RunLog, Silence
from service.runs.recovery.heartbeat import Heartbeat
from service.runs.recovery.lease import Lease
from service.runs.recovery.maintenance import Maintenance
from service.runs.recovery.recovery import Folders, Recovery
from service.runs.run import LiveRun, Run
from service.runs.runs import Runs
from service.runs.settings import IdempotencyKey, Limits
from service.runs.transport.database import join_segments
from service.store.records import AgentAnswer, StoredRun
from telemetry import Telemetry, TelemetryConfig
from tests._support.llm.scripted import (
    Recording,
    a_catalog,
    an_ask,
    an_ensemble_file,
    model,
    no_key,
)
from tests._support.runs.memory_store import TIMEOUT_S, Memory, next_millisecond

COMBINER = {"model": model("combine")}
NEVER_ENDING = model("never", fault="stall", after=2)
FOREVER: dict[str, Any] = {
    "a": {"model": NEVER_ENDING, "idle_timeout_s": 80_000, "timeout_s": 80_000}
}
LONG: dict[str, Any] = {"timeout_s": 80_000}
ME = "anonymous"
LEASE_S = 15.0


@dataclass
class Service:
    """The runs under test and what they are made with."""

    runs: Runs
    tools: RunDependencies
    server: Recording
    telemetry: Telemetry
    pace: CoalescingWindow
    memory: Memory
    journal: Journal
    spool: Spool
    folder: Path
    lease: Lease
    recovery: Recovery
    heartbeat: Heartbeat
    maintenance: Maintenance

    async def start(
        self, ask: RunRequest | None = None, key: IdempotencyKey | None = None
    ) -> LiveRun:
        """Start a run here."""
        run = await self.runs.start(ask or an_ask(), key)
        assert isinstance(run, LiveRun)
        return run

    async def read(self, run: Run, after: int = 0) -> list[Event]:
        """Read `run` to its end, as a connection does."""
        with self.runs.reading(run, after) as reader:
            return await read(reader)

    async def finish(
        self, ask: RunRequest | None = None, key: IdempotencyKey | None = None
    ) -> LiveRun:
        """Start a run, read it to its end and check that the end is stored."""
        next_millisecond()
        run = await self.start(ask, key)
        await self.read(run)
        await ended(run)
        assert await self.journal.settle(30)
        return run

    async def stored(self, run: Run) -> StoredRun:
        """Return the stored run."""
        stored = await self.memory.runs.get(run.owner, run.id)
        assert stored is not None
        return stored

    async def kept_events(self, run: Run) -> list[Event]:
        """Return the events of a run that the store has."""
        return join_segments(await self.memory.runs.list_segments(run.owner, run.id), 0)

    async def answers(self, run: Run) -> dict[str, AgentAnswer]:
        """Return the agents' answers that the store has, by agent."""
        found = await self.memory.runs.list_agent_answers(run.owner, run.id)
        return {answer.agent: answer for answer in found}

    async def refusal(self, run_id: str, owner: str = ME) -> RequestError:
        """Return the error that is raised when a run is requested with its events."""
        try:
            await self.runs.find(run_id, owner)
        except RequestError as error:
            return error
        raise AssertionError("it is there")

    async def expire(self, after_s: float) -> None:
        """Tidy up `after_s` from now."""
        await self.memory.workers.delete_expired(datetime.now(UTC) + timedelta(seconds=after_s))

    @property
    def upstream_calls(self) -> int:
        """The number of open calls to models."""
        return self.server.inner.open_streams  # type: ignore[attr-defined, no-any-return]


async def ended(run: LiveRun) -> RunFinished | RunFailed:
    """Wait for a run's end and return its final event, which must be the only one and the last."""
    await asyncio.shield(run.ended)
    events = run.log.after(0)
    finals = [event for event in events if event.final]
    assert finals == [events[-1]]
    assert isinstance(finals[0], RunFinished | RunFailed)
    return finals[0]


async def failed(run: LiveRun) -> RunFailed:
    final = await ended(run)
    assert isinstance(final, RunFailed)
    return final


async def read(reader: Reader) -> list[Event]:
    """Return everything a reader gets until its end, without the keep-alives."""
    events: list[Event] = []
    while (taken := await reader.take()) is not Silence.END:
        if not isinstance(taken, Silence):
            events += taken
    return events


def saying(question: str, **changes: Any) -> RunRequest:
    """Return an ask for `question`."""
    return an_ask(messages=(Message("user", question),), **changes)


def a_run(events: Sequence[Event] = ()) -> Run:
    """Return a run without a task that executes it."""
    return Run(
        id="run_1",
        owner=ME,
        message_id="message_1",
        conversation_id="conv_1",
        ensemble_name="fanout",
        config_hash="hash",
        trace_id="0" * 32,
        created_at=datetime.now(UTC),
        log=RunLog(events),
    )


@asynccontextmanager
async def service(
    agents: Mapping[str, Mapping[str, Any]] | None = None,
    combiner: Mapping[str, Any] | None = COMBINER,
    *,
    server: httpx.AsyncBaseTransport | None = None,
    catalog: Catalog | None = None,
    telemetry: Telemetry | None = None,
    limits: Mapping[str, Any] | None = None,
    rules: Callable[[], Rules] = Rules,
    beside: Service | None = None,
    far_from: Service | None = None,
    **ensemble: Any,
) -> AsyncIterator[Service]:
    """Yield runs of one ensemble; limits are wide unless given.

    `beside` is another process, with which it shares the store and the spool's folder; `far_from`
    is one on another machine, with which it shares only the rows.
    """
    if agents is None:
        agents = {"a": {"model": model("a")}, "b": {"model": model("b")}}
    catalog = catalog or a_catalog(an_ensemble_file(agents, combiner, **ensemble))
    recording, pace = Recording(server), CoalescingWindow()
    telemetry = telemetry or Telemetry(TelemetryConfig())
    async with recording:
        client, tokens = LLMClient(recording, pace, key_needed=False), TokenCounter()
        memory = Memory(far_from.memory.tables) if far_from else Memory()
        memory = beside.memory if beside else memory
        tools = RunDependencies(
            catalog=lambda: catalog,
            client=client,
            keys=no_key,
            budget=RetryBudget(),
            telemetry=telemetry,
            pace=pace,
            tokens=tokens,
            budgets=RunBudgets(
                rules=rules,
                budgets=memory.budgets,
                learned=client.learned,
                tokens=tokens,
                telemetry=telemetry,
                audit=Audit(memory.store().audit),
            ),
        )
        with TemporaryDirectory() as folder:
            place = beside.folder if beside else Path(folder)
            made = _process(tools, recording, _limits(limits), memory, place)
            async with kept(made):
                try:
                    yield made
                finally:
                    await made.runs.drain(0)


@asynccontextmanager
async def kept(made: Service) -> AsyncIterator[None]:
    """Keep the journal of a process for as long as the block lasts, and then what it has left."""
    made.spool.open()
    keeping = asyncio.create_task(made.journal.run())
    try:
        yield
        made.memory.writing.reopen()
        assert await made.journal.settle(30)
        made.spool.close()
    finally:
        assert not keeping.done(), "the journal has stopped"
        keeping.cancel()
        await asyncio.wait([keeping])


def _process(
    tools: RunDependencies, server: Recording, limits: Limits, memory: Memory, folder: Path
) -> Service:
    worker_id = new_id("worker")
    spool = Spool(folder, worker_id)
    journal = Journal(memory.journal, spool, tools.pace, TIMEOUT_S, tools.telemetry.journal)
    lease = Lease(worker_id, LEASE_S, asyncio.get_running_loop().time)
    lease.hold_without_end()
    runs = Runs(tools, limits, memory.runs, journal, lease)
    kept_s = limits.retention_s
    heartbeat = Heartbeat(runs, memory.workers, lease)
    folders = Folders(folder, locks=folder)
    recovery = Recovery(memory.store(), folders, lease, kept_s, tools.telemetry)
    return Service(
        runs=runs,
        tools=tools,
        server=server,
        telemetry=tools.telemetry,
        pace=tools.pace,
        memory=memory,
        journal=journal,
        spool=spool,
        folder=folder,
        lease=lease,
        recovery=recovery,
        heartbeat=heartbeat,
        maintenance=Maintenance(runs, lease, recovery, memory.workers, kept_s),
    )


def _limits(limits: Mapping[str, Any] | None) -> Limits:
    bounds: dict[str, Any] = {
        "open_runs": 100,
        "exchanges": 20,
        "retention_s": 900.0,
        "idempotency_s": 900.0,
        "detach_grace_s": 30.0,
        "keep_alive_s": 15.0,
        **(limits or {}),
    }
    return Limits(**bounds)
