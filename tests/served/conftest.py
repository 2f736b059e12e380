"""Service processes: one per session, one with short time-outs, and more for single tests."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests._support.clients.api import Api, client_of
from tests._support.llm import ensembles
from tests._support.llm.mock_stats import Upstream
from tests._support.llm.recorder import Recorder, recording
from tests._support.llm.unbounded_server import gushing
from tests._support.otlp import Sink
from tests._support.recovery.installation import Installation
from tests._support.servers.databases import Postgres
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import IMPATIENT, KEY, UNHURRIED_STORE, Start, Told


@pytest.fixture(scope="session")
def gusher_url() -> Iterator[str]:
    with gushing() as url:
        yield url


@pytest.fixture(scope="session")
def told(mock_llm: Process, gusher_url: str) -> Told:
    """Return the settings that let a service in a folder ask the mock over its socket."""

    def settings(folder: Path) -> dict[str, str]:
        file = folder / "some-ensembles.toml"
        file.write_text(ensembles.toml(gusher_url, mock_llm.url))
        return {
            "USE_LLM_MOCK": "false",
            "LLM_BASE_URL": mock_llm.url,
            "LLM_KEY": KEY,
            "ENSEMBLES_FILE": str(file),
            "LOG_JSON": "true",
            "DRAIN_S": "1",
            **UNHURRIED_STORE,
        }

    return settings


@pytest.fixture(scope="session")
def service(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with all but default settings that asks the mock over its socket."""
    folder = tmp_path_factory.mktemp("service")
    with run_server(folder, "serve", "--port", "0", **told(folder)) as process:
        yield process


@pytest.fixture(scope="session")
def impatient(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with short time limits."""
    folder = tmp_path_factory.mktemp("impatient")
    settings = told(folder) | IMPATIENT
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def archive(
    request: pytest.FixtureRequest, told: Told, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """A service with a database of the module's own, once of each kind."""
    folder = tmp_path_factory.mktemp("archive")
    settings = told(folder)
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        settings |= {"DATABASE_URL": postgres.new_database(), "MIGRATE_ON_START": "true"}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
def start(told: Told, tmp_path: Path) -> Iterator[Start]:
    """Start a service of the test's own: `start("--workers", "2", DRAIN_S="1")`.

    In a folder of its own, unless it is given one that another has been in before.
    """
    numbers = itertools.count()
    with ExitStack() as stack:

        def begin(*arguments: str, folder: Path | None = None, **settings: str) -> Process:
            if folder is None:
                folder = tmp_path / f"service-{next(numbers)}"
                folder.mkdir()
            wanted = told(folder) | settings
            return stack.enter_context(
                run_server(folder, "serve", "--port", "0", *arguments, **wanted)
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


@pytest.fixture
async def upstream(mock_llm: Process) -> AsyncIterator[Upstream]:
    async with client_of(mock_llm.url.removesuffix("/v1")) as client:
        yield Upstream(client.http)


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A collector of the test's own."""
    with Sink() as opened:
        yield opened


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Models of the test's own that remember what they were asked."""
    with recording() as models_server:
        yield models_server


@pytest.fixture
def installation(
    start: Start, recorder: Recorder, tmp_path: Path, database_url: str
) -> Iterator[Installation]:
    """A place to start services in again and again, once with each kind of database."""
    made = Installation(start, recorder, tmp_path / "installation", database_url)
    yield made
    made.end()  # before its database goes


@pytest.fixture
def on_sqlite(
    start: Start, recorder: Recorder, tmp_path: Path, sqlite_url: str
) -> Iterator[Installation]:
    """The same, on SQLite only."""
    made = Installation(start, recorder, tmp_path / "installation", sqlite_url)
    yield made
    made.end()


@pytest.fixture
def on_postgres(
    start: Start, recorder: Recorder, tmp_path: Path, postgres_url: str
) -> Iterator[Installation]:
    """The same, on PostgreSQL only."""
    made = Installation(start, recorder, tmp_path / "installation", postgres_url)
    yield made
    made.end()
