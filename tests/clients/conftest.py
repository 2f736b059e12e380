"""Services for real clients: with default settings, with short time-outs, and breakable lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from playwright.async_api import Browser

from tests._support.clients.openai_sdk import client_of
from tests._support.llm import client_ensembles
from tests._support.llm.awkward_texts import reciting
from tests._support.llm.ensembles import as_toml
from tests._support.llm.mock_stats import OpenCalls
from tests._support.pages.browser import open_browser
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE, Start


def settings(folder: Path, base_url: str) -> dict[str, str]:
    """Return the settings of a service in `folder` that calls the models at `base_url`."""
    ensembles = folder / "some-ensembles.toml"
    ensembles.write_text(client_ensembles.toml(base_url))
    return {
        "USE_LLM_MOCK": "false",
        "LLM_BASE_URL": base_url,
        "LLM_KEY": "sk-any",
        "ENSEMBLES_FILE": str(ensembles),
        "DRAIN_S": "1",
        **UNHURRIED_STORE,
    }


@pytest.fixture(scope="session")
def service(mock_llm: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with all but default settings."""
    folder = tmp_path_factory.mktemp("service")
    told = settings(folder, mock_llm.url)
    with run_server(folder, "serve", "--port", "0", **told) as process:
        yield process


@pytest.fixture(scope="session")
def own_llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The models' server of the impatient service alone: its open answers can be counted."""
    with run_server(tmp_path_factory.mktemp("own-mock"), "mock", "--port", "0") as process:
        yield process


@pytest.fixture(scope="session")
def impatient(own_llm: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service that pings often, and soon cancels a run without a reader."""
    folder = tmp_path_factory.mktemp("impatient")
    told = settings(folder, own_llm.url) | {"KEEP_ALIVE_S": "0.2", "DETACH_GRACE_S": "0.3"}
    with run_server(folder, "serve", "--port", "0", **told) as process:
        yield process


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with two agents that recite, and a combiner that recites the merged text."""
    folder = tmp_path_factory.mktemp("theatre")
    poet = {"model": "poet", "max_tokens": 1_000_000, "retries": 0}
    agents = {"first": poet, "second": {**poet, "stream": False}, "third": poet}
    ensembles = {"fanout": {"agents": ["first", "second"], "combiner": "third"}}
    (folder / "poets.toml").write_text(as_toml(agents, ensembles, {}))
    with reciting() as base_url:
        told = {"USE_LLM_MOCK": "false", "LLM_BASE_URL": base_url, "LLM_KEY": "sk-any"}
        told |= UNHURRIED_STORE
        ensembles_file = str(folder / "poets.toml")
        with run_server(
            folder, "serve", "--port", "0", ENSEMBLES_FILE=ensembles_file, **told
        ) as process:
            yield process


@pytest.fixture
def start(mock_llm: Process, tmp_path: Path) -> Iterator[Start]:
    """Start a service for this test with these settings; a second one has the same stored data."""
    with ExitStack() as stack:

        def begin(port: int = 0, **more: str) -> Process:
            told = settings(tmp_path, mock_llm.url) | more
            return stack.enter_context(run_server(tmp_path, "serve", "--port", str(port), **told))

        yield begin


@pytest.fixture
async def open_calls(own_llm: Process) -> OpenCalls:
    """The open model calls of the impatient service; none remain from the previous test."""
    calls = OpenCalls(own_llm)
    await calls.ended()
    return calls


@pytest.fixture
async def client(service: Process) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's SDK as a client of the service."""
    async with client_of(service) as opened:
        yield opened


@pytest.fixture
async def hasty(impatient: Process) -> AsyncIterator[AsyncOpenAI]:
    """The same of the impatient service."""
    async with client_of(impatient) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's browser."""
    async with open_browser() as opened:
        yield opened
