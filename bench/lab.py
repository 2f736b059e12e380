"""The lab: the mock and the floor for the whole run, and a fresh service for each row."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.client import Address, ServerRequest, converse
from bench.fans import GAP_MS, TOKENS, Fan, Speech, ensembles_toml, get
from bench.load import Load, Meter, Question, arrive
from bench.processes import Process

T = TypeVar("T")

SERVICE = ("service", "serve", "--host", "127.0.0.1", "--port", "0", "--workers", "1")

# A sleep ends late and nothing makes up for it: a paced generator takes longer than its pace.
_FLOOR_SLACK = 1.15


@dataclass(frozen=True, slots=True)
class Served:
    """A service under test."""

    process: Process
    address: Address

    def ask(self, fan: Fan) -> Question:
        return Question(self.address, fan.request, fan.combiner.tokens, fan.run_s)


@dataclass(slots=True)
class Lab:
    """What rows measure with. `quick` shrinks everything to a smoke run."""

    folder: Path
    quick: bool = False
    processes: list[Process] = field(default_factory=list)
    _mock: tuple[Process, Address] | None = None
    _floor: tuple[Process, Address] | None = None

    def pick(self, full: T, quick: T) -> T:
        """Return the first, or the second in a quick run."""
        return quick if self.quick else full

    def speech(self, gap_ms: int = GAP_MS) -> Speech:
        """Return the answer that models give unless a row needs another."""
        return self.pick(Speech(gap_ms=gap_ms), Speech(tokens=20, first_ms=30, gap_ms=gap_ms))

    @property
    def mock(self) -> Process:
        assert self._mock is not None
        return self._mock[0]

    @property
    def _settle_s(self) -> float:
        # The service adapts its coalescing to its load four times a second.
        return self.pick(0.5, 0.1)

    async def open(self) -> None:
        """Start the helpers."""
        mock = self._start("mock", ["service", "mock", "--host", "127.0.0.1", "--port", "0"], {})
        floor = self._start("floor", ["bench.floor"], {})
        self._mock = mock, await mock.address()
        self._floor = floor, await floor.address()

    async def close(self) -> None:
        """End every process that is left."""
        for process in self.processes:
            await process.stop()

    @asynccontextmanager
    async def service(
        self,
        fans: Sequence[Fan],
        more: Mapping[str, str] | None = None,
        program: Sequence[str] = SERVICE,
    ) -> AsyncIterator[Served]:
        """Serve `fans` with the mock as upstream; `more` are variables of its environment.

        Each has an SQLite file of its own, unless `more` says otherwise.
        """
        assert self._mock is not None
        host, port = self._mock[1]
        number = len(self.processes)
        ensembles = self.folder / f"ensembles-{number}.toml"
        ensembles.write_text(ensembles_toml(fans))
        variables = {
            "USE_LLM_MOCK": "false",
            "LLM_BASE_URL": f"http://{host}:{port}/v1",
            "LLM_KEY": "bench",
            "ENSEMBLES_FILE": str(ensembles),
            "DRAIN_S": "0",
            "DATABASE_URL": f"sqlite:///data/service-{number}.db",
            **(more or {}),
        }
        process = self._start(f"service-{number}", program, variables)
        try:
            yield Served(process, await process.address())
        finally:
            await process.stop()

    async def warm_up(self, served: Served, fan: Fan) -> list[ServerRequest]:
        """Let the service import, connect and cache what only the first runs pay for."""
        return await arrive(served.ask(fan), count=self.pick(20, 2), interval_s=0.01)

    def load(self, served: Served, fan: Fan) -> Load:
        """Return load on the service that asks `fan`."""
        return Load(served.ask(fan), served.process, self.mock, self._settle_s)

    def floor_load(self, tokens: int = TOKENS, gap_ms: int = GAP_MS) -> Load:
        """Return load on the floor: the same number of tokens, each an event."""
        assert self._floor is not None
        process, address = self._floor
        run_s = tokens * gap_ms / 1000 * _FLOOR_SLACK
        question = Question(address, get(f"/{tokens}/{gap_ms}"), tokens, run_s)
        return Load(question, process, self.mock, self._settle_s)

    def meter(self, served: Served) -> Meter:
        return Meter(served.process, self.mock)

    async def mock_stats(self) -> dict[str, Any]:
        """Return what the mock counts: requests, open_streams, closed_early."""
        assert self._mock is not None
        return await fetch_json(self._mock[1], "/stats")

    @asynccontextmanager
    async def otlp_sink(self) -> AsyncIterator[Address]:
        """Serve the stand-in for a collector."""
        process = self._start(f"otlp-sink-{len(self.processes)}", ["bench.otlp_sink"], {})
        try:
            yield await process.address()
        finally:
            await process.stop()

    def _start(self, name: str, arguments: Sequence[str], variables: dict[str, str]) -> Process:
        process = Process(name, arguments, self.folder, variables)
        self.processes.append(process)
        return process


async def fetch(address: Address, path: str) -> bytes:
    """Return the body of a GET. Raises BenchError unless the status is 200."""
    exchange = await converse(address, ServerRequest(get(path)), 0)
    return exchange.rest.partition(b"\r\n\r\n")[2]


async def fetch_json(address: Address, path: str) -> dict[str, Any]:
    """Return what a GET answers, a JSON object. Raises BenchError unless the status is 200."""
    found: dict[str, Any] = json.loads(await fetch(address, path))
    return found
