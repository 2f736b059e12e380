"""Servers to test from outside: one for the session, an impatient one, and any number a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.otlp import Sink
from tests.served import models
from tests.served.gusher import gushing
from tests.served.processes import Process, announced
from tests.served.wire import Api, client_of

KEY = "sk-this-key-must-never-be-seen-0123456789"

Start = Callable[..., Process]


@pytest.fixture(scope="session")
def gusher_url() -> Iterator[str]:
    with gushing() as url:
        yield url


Told = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="session")
def told(mock_llm: Process, gusher_url: str) -> Told:
    """Return the settings that let a service in a folder ask the mock over its socket."""

    def settings(folder: Path) -> dict[str, str]:
        ensembles = folder / "some-ensembles.toml"
        ensembles.write_text(models.toml(gusher_url))
        return {
            "USE_LLM_MOCK": "false",
            "LLM_BASE_URL": mock_llm.url,
            "LLM_KEY": KEY,
            "ENSEMBLES_FILE": str(ensembles),
            "LOG_JSON": "true",
            "DRAIN_S": "1",
        }

    return settings


@pytest.fixture(scope="session")
def service(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with all but default settings that asks the mock over its socket."""
    folder = tmp_path_factory.mktemp("service")
    with announced(folder, "serve", "--port", "0", **told(folder)) as process:
        yield process


@pytest.fixture(scope="session")
def impatient(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service whose every wait is short."""
    folder = tmp_path_factory.mktemp("impatient")
    waits = {
        "KEEP_ALIVE_S": "0.2",
        "DETACH_GRACE_S": "0.5",
        "BODY_TIMEOUT_S": "0.5",
        "SEND_TIMEOUT_S": "1",
        "RUN_RETENTION_S": "1",
    }
    settings = told(folder) | waits
    with announced(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
def start(told: Told, tmp_path: Path) -> Iterator[Start]:
    """Start a service of the test's own: `start("--workers", "2", DRAIN_S="1")`."""
    with ExitStack() as stack:

        def begin(*arguments: str, **settings: str) -> Process:
            folder = tmp_path / f"service-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            wanted = told(folder) | settings
            return stack.enter_context(
                announced(folder, "serve", "--port", "0", *arguments, **wanted)
            )

        yield begin


@pytest.fixture
async def api(service: Process) -> AsyncIterator[Api]:
    async with client_of(service.url) as client:
        yield client


@pytest.fixture
async def hasty(impatient: Process) -> AsyncIterator[Api]:
    """A client of the impatient service."""
    async with client_of(impatient.url) as client:
        yield client


class Upstream:
    """What the mock LLM has counted."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def stats(self) -> dict[str, int]:
        stats: dict[str, int] = (await self._http.get("/stats")).json()
        return stats

    async def open_streams(self) -> int:
        return (await self.stats())["open_streams"]

    async def closed_early(self) -> int:
        return (await self.stats())["closed_early"]

    async def quiet(self) -> bool:
        return await self.open_streams() == 0


@pytest.fixture
async def upstream(mock_llm: Process) -> AsyncIterator[Upstream]:
    async with client_of(mock_llm.url.removesuffix("/v1")) as client:
        yield Upstream(client.http)


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A collector of the test's own."""
    with Sink() as opened:
        yield opened
