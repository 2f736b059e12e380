"""Runs of scripted models, as the service makes them; each ends before the test does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from service.domain import Ask
from service.ensembles import Catalog
from service.events import Event, RunFailed, RunFinished
from service.llm.client import LLMClient
from service.llm.resilience import RetryBudget
from service.pace import Pace
from service.runs.log import Reader, Silence
from service.runs.run import Run
from service.runs.runs import IdempotencyKey, Limits, Runs, Tools
from telemetry import Telemetry, TelemetryConfig
from tests.core_kit import Recording, a_catalog, an_ask, an_ensemble_file, model, no_key

COMBINER = {"model": model("combine")}
NEVER_ENDING = model("never", fault="stall", after=2)


@dataclass
class Service:
    """The runs under test and what they are made with."""

    runs: Runs
    server: Recording
    telemetry: Telemetry
    pace: Pace

    def start(self, ask: Ask | None = None, key: IdempotencyKey | None = None) -> Run:
        return self.runs.start(ask or an_ask(), key)

    async def read(self, run: Run, after: int = 0) -> list[Event]:
        """Read `run` to its end, as a connection does."""
        with self.runs.reading(run, after) as reader:
            return await read(reader)

    async def finish(self, ask: Ask | None = None, key: IdempotencyKey | None = None) -> Run:
        """Start a run and read it to its end."""
        run = self.start(ask, key)
        await self.read(run)
        await ended(run)
        return run

    @property
    def upstream_calls(self) -> int:
        """How many calls to models are open."""
        return self.server.inner.open_streams  # type: ignore[attr-defined, no-any-return]


async def ended(run: Run) -> RunFinished | RunFailed:
    """Wait for a run's end and return its final event, which must be the only one and the last."""
    await asyncio.shield(run.ended)
    events = run.log.after(0)
    finals = [event for event in events if event.final]
    assert finals == [events[-1]]
    assert isinstance(finals[0], RunFinished | RunFailed)
    return finals[0]


async def failed(run: Run) -> RunFailed:
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


@asynccontextmanager
async def service(
    agents: Mapping[str, Mapping[str, Any]] | None = None,
    combiner: Mapping[str, Any] | None = COMBINER,
    *,
    server: httpx.AsyncBaseTransport | None = None,
    catalog: Catalog | None = None,
    telemetry: Telemetry | None = None,
    limits: Mapping[str, Any] | None = None,
    **ensemble: Any,
) -> AsyncIterator[Service]:
    """Yield runs of one ensemble; limits are wide unless given."""
    if agents is None:
        agents = {"a": {"model": model("a")}, "b": {"model": model("b")}}
    catalog = catalog or a_catalog(an_ensemble_file(agents, combiner, **ensemble))
    bounds: dict[str, Any] = {
        "open_runs": 100,
        "retention_s": 900.0,
        "log_bytes": 1_000_000,
        "detach_grace_s": 30.0,
        "keep_alive_s": 15.0,
        **(limits or {}),
    }
    recording, pace = Recording(server), Pace()
    telemetry = telemetry or Telemetry(TelemetryConfig())
    async with httpx.AsyncClient(transport=recording, timeout=None) as http:
        tools = Tools(
            catalog=lambda: catalog,
            client=LLMClient(http, pace, key_needed=False),
            keys=no_key,
            budget=RetryBudget(),
            telemetry=telemetry,
            pace=pace,
        )
        runs = Runs(tools, Limits(**bounds))
        yield Service(runs, recording, telemetry, pace)
        await runs.drain(0)
