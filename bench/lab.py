"""The processes of a benchmark: mock and floor for all rows, and a new service for each row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.client import Address, TimedRequest, perform
from bench.databases import Databases
from bench.ensembles import (
    GAP_MS,
    TOKENS,
    BenchEnsemble,
    MockAnswer,
    build_get,
    format_ensembles,
)
from bench.load import Load, Meter, Question, send_evenly
from bench.processes import Measured, Process
from tests._support.servers.fork_server import end_fork_server

T = TypeVar("T")

SERVICE = ("service", "serve", "--host", "127.0.0.1", "--port", "0", "--workers", "1")

# Each sleep ends late, so a paced generator takes longer than the sum of its gaps.
_FLOOR_SLACK = 1.15


@dataclass(frozen=True, slots=True)
class Served:
    """A service under test, and the model server that it calls."""

    process: Process
    address: Address
    upstream: Process

    def build_question(self, ensemble: BenchEnsemble) -> Question:
        return Question(self.address, ensemble.request, ensemble.combiner.tokens, ensemble.run_s)


@dataclass(slots=True)
class Lab:
    """The processes and helpers that rows use; `quick` reduces all sizes to a smoke test."""

    folder: Path
    quick: bool = False
    processes: list[Process] = field(default_factory=list)
    databases: Databases = field(init=False)
    _mock: tuple[Process, Address] | None = None
    _upstream: tuple[Process, Address] | None = None
    _floor: tuple[Process, Address] | None = None

    def __post_init__(self) -> None:
        self.databases = Databases(self.folder)

    def choose(self, full: T, quick: T) -> T:
        """Return `full`, or `quick` in a quick run."""
        return quick if self.quick else full

    def default_answer(self, gap_ms: int = GAP_MS) -> MockAnswer:
        """Return the models' default answer."""
        return self.choose(
            MockAnswer(gap_ms=gap_ms), MockAnswer(tokens=20, first_ms=30, gap_ms=gap_ms)
        )

    @property
    def mock_url(self) -> str:
        """The base URL of the mock."""
        assert self._mock is not None
        return _make_base_url(self._mock[1])

    @property
    def upstream_url(self) -> str:
        """The base URL of the lean upstream."""
        assert self._upstream is not None
        return _make_base_url(self._upstream[1])

    @property
    def floor(self) -> Served:
        """The bare server; its requests are those of `build_floor_question`."""
        assert self._floor is not None
        return Served(*self._floor, self.upstream)

    def build_floor_question(self, tokens: int = TOKENS, gap_ms: int = GAP_MS) -> Question:
        """Return the request of one event for each of the `tokens`."""
        run_s = tokens * gap_ms / 1000 * _FLOOR_SLACK
        return Question(self.floor.address, build_get(f"/{tokens}/{gap_ms}"), tokens, run_s)

    @property
    def _settle_s(self) -> float:
        # The service adapts its coalescing to its load four times a second.
        return self.choose(0.5, 0.1)

    async def start(self) -> None:
        """Start the mock, the upstream and the floor."""
        mock = self._start("mock", ["service", "mock", "--host", "127.0.0.1", "--port", "0"], {})
        upstream = self._start("upstream", ["bench.upstream"], {})
        floor = self._start("floor", ["bench.floor"], {})
        self._mock = mock, await mock.wait_for_address()
        self._upstream = upstream, await upstream.wait_for_address()
        self._floor = floor, await floor.wait_for_address()

    async def stop(self) -> None:
        """Stop all processes."""
        await asyncio.gather(*(process.stop() for process in self.processes))
        self.databases.close()
        end_fork_server()

    @asynccontextmanager
    async def run_service(
        self,
        ensembles: Sequence[BenchEnsemble],
        more: Mapping[str, str] | None = None,
        program: Sequence[str] = SERVICE,
        *,
        needs_mock: bool = False,
    ) -> AsyncIterator[Served]:
        """Run a service with `ensembles` and the lean upstream; `more` are its variables.

        With `needs_mock` the mock is its upstream, with its faults and counters. Each service has
        its own SQLite file, unless `more` sets DATABASE_URL.
        """
        models = self._mock if needs_mock else self._upstream
        assert models is not None
        number = len(self.processes)
        ensembles_file = self.folder / f"ensembles-{number}.toml"
        ensembles_file.write_text(format_ensembles(ensembles))
        variables = {
            "USE_LLM_MOCK": "false",
            "LLM_BASE_URL": _make_base_url(models[1]),
            "LLM_KEY": "bench",
            "ENSEMBLES_FILE": str(ensembles_file),
            "DRAIN_S": "0",
            "DATABASE_URL": f"sqlite:///data/service-{number}.db",
            **(more or {}),
        }
        process = self._start(f"service-{number}", program, variables)
        try:
            yield Served(process, await process.wait_for_address(), models[0])
        finally:
            await process.stop()

    async def warm_up(self, served: Served, ensemble: BenchEnsemble) -> list[TimedRequest]:
        """Send some requests, so that imports, connections and caches do not affect the figures."""
        return await send_evenly(
            served.build_question(ensemble), count=self.choose(20, 2), interval_s=0.01
        )

    @property
    def upstream(self) -> Process:
        """The lean upstream."""
        assert self._upstream is not None
        return self._upstream[0]

    def create_load(self, served: Served, ensemble: BenchEnsemble) -> Load:
        """Return a load that asks `ensemble` of the service."""
        return self.create_load_of(served.process, served.upstream, served.build_question(ensemble))

    def create_floor_load(self, tokens: int = TOKENS, gap_ms: int = GAP_MS) -> Load:
        """Return a load on the floor, with one event for each of the `tokens`."""
        question = self.build_floor_question(tokens, gap_ms)
        return self.create_load_of(self.floor.process, self.upstream, question)

    def create_load_of(self, server: Measured, upstream: Measured, question: Question) -> Load:
        """Return a load that repeats a request to any server."""
        return Load(question, server, upstream, self._settle_s)

    def start_meter(self, served: Served) -> Meter:
        return Meter(served.process, served.upstream)

    @asynccontextmanager
    async def run_program(
        self, name: str, program: Sequence[str], variables: Mapping[str, str]
    ) -> AsyncIterator[Served]:
        """Run another server that prints its address and calls the lean upstream."""
        process = Process.start(name, (), self.folder, variables, program)
        self.processes.append(process)
        try:
            yield Served(process, await process.wait_for_address(), self.upstream)
        finally:
            await process.stop()

    @asynccontextmanager
    async def run_otlp_sink(self) -> AsyncIterator[Address]:
        """Run the stub collector."""
        process = self._start(f"otlp-sink-{len(self.processes)}", ["bench.otlp_sink"], {})
        try:
            yield await process.wait_for_address()
        finally:
            await process.stop()

    def _start(self, name: str, arguments: Sequence[str], variables: dict[str, str]) -> Process:
        if self.quick and arguments[0] == "service":
            process = Process.fork_service(name, arguments[1:], self.folder, variables)
        else:
            process = Process.start(name, arguments, self.folder, variables)
        self.processes.append(process)
        return process


def _make_base_url(address: Address) -> str:
    host, port = address
    return f"http://{host}:{port}/v1"


async def fetch(address: Address, path: str) -> bytes:
    """Return the body of a GET. Raises BenchError unless the status is 200."""
    request = await perform(address, TimedRequest(build_get(path)), 0)
    return request.rest.partition(b"\r\n\r\n")[2]


async def fetch_json(address: Address, path: str) -> dict[str, Any]:
    """Return the JSON object in the response to a GET. Raises BenchError unless it is a 200."""
    found: dict[str, Any] = json.loads(await fetch(address, path))
    return found
