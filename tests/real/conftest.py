"""Third-party model servers and services that use them, each started once.

`make test-real` installs the servers. Where one is missing its tests are skipped with a message;
with CI=true they fail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests._support.clients.api import Api, client_of
from tests._support.real.chaos import Chaos
from tests._support.real.servers import MODEL, RealServer, run_litellm, run_llama, run_llmock
from tests._support.real.services import run_service
from tests._support.servers.processes import Process


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """llama.cpp with SmolLM2."""
    with run_llama(tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest.fixture(scope="session")
def llama_service(llama: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with run_service(tmp_path_factory.mktemp("service"), llama.url) as process:
        yield process


@pytest.fixture
async def llama_api(llama_service: Process) -> AsyncIterator[Api]:
    async with client_of(llama_service.url) as api:
        yield api


@pytest.fixture(scope="session")
def litellm(llama: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """LiteLLM's proxy in front of llama.cpp, and of an address where nothing listens."""
    upstreams = {MODEL: llama.url, "unreachable": "http://127.0.0.1:9/v1"}
    with run_litellm(tmp_path_factory.mktemp("litellm"), upstreams) as server:
        yield server


@pytest.fixture(scope="session")
def _llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    options = ("--response-style", "varied", "--stream-chunk-delay-ms", "5")
    with run_llmock(tmp_path_factory.mktemp("llmock"), *options) as server:
        yield server


@pytest.fixture
def chaos(_llmock: RealServer) -> Iterator[Chaos]:
    """llmock without scripted failures."""
    with httpx.Client(base_url=f"{_llmock.root}/_llmock", timeout=30) as http:
        chaos = Chaos(_llmock.url, http)
        chaos.script()
        yield chaos


@pytest.fixture
async def chaos_api(_llmock: RealServer, chaos: Chaos, tmp_path: Path) -> AsyncIterator[Api]:
    """A service whose agents are `chaos`: one for each test, with a full budget of retries."""
    hasty: dict[str, Any] = {
        "retries": 2,
        "first_token_timeout_s": 3,
        "idle_timeout_s": 1,
        "timeout_s": 15,
    }
    with run_service(tmp_path, _llmock.url, "gpt-4o", **hasty) as process:
        async with client_of(process.url) as api:
            yield api
