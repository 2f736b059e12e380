"""One service for the tests of limits, behind a trusted proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests._support.clients.api import Api, client_of
from tests._support.clients.callers import PROXIED, RULES
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told


@pytest.fixture(scope="module")
def limited(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with rules for the networks of `callers`, and the default limit."""
    folder = tmp_path_factory.mktemp("limited")
    (folder / "limits.toml").write_text(RULES)
    with run_server(folder, "serve", "--port", "0", **told(folder), **PROXIED) as process:
        yield process


@pytest.fixture
async def caller(limited: Process) -> AsyncIterator[Api]:
    """A client of the limited service, on this machine."""
    async with client_of(limited.url) as client:
        yield client
