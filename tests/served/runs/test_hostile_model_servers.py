"""Model servers that send too much, too slowly or not HTTP: the process and its other clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests._support.clients.api import Api, assert_whole, client_of
from tests._support.llm.hostile_responses import RESPONSES
from tests._support.llm.hostile_server import serving_hostile_responses
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told

DEADLINES = {"first_token_timeout_s": 1.5, "idle_timeout_s": 1.5, "timeout_s": 3}
# A fault of this class takes seconds and hundreds of megabytes; a busy machine takes some of each.
MAX_GROWTH_BYTES = 120_000_000
MAX_DELAY_S = 2.0

COMPLETE = {"json-4m-text", "json-4m-umlauts", "json-close-delimited", "json-pipelined"}


@pytest.fixture(scope="module")
def attacked(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service with an ensemble for each hostile response."""
    folder = tmp_path_factory.mktemp("attacked")
    with serving_hostile_responses() as url:
        file = folder / "hostile.toml"
        file.write_text(_write_ensembles(url))
        settings = told(folder) | {"ENSEMBLES_FILE": str(file)}
        with run_server(folder, "serve", "--port", "0", **settings) as process:
            yield process


def _write_ensembles(url: str) -> str:
    lines = ['default = "silent"']
    for name in RESPONSES:
        is_streamed = "false" if name.startswith("json") else "true"
        lines += [f"[agents.{name}]", f'model = "{name}"', f'base_url = "{url}"']
        lines += ["retries = 0", f"stream = {is_streamed}"]
        lines += [f"{key} = {each}" for key, each in DEADLINES.items()]
        lines += [f"[ensembles.{name}]", 'strategy = "solo"', f'agents = ["{name}"]']
    return "\n".join(lines)


@pytest.fixture
async def victim(attacked: Process) -> AsyncIterator[Api]:
    async with client_of(attacked.url) as client:
        yield client


class _Delays:
    """The longest delay of a health check, and the memory of the process, while it runs."""

    def __init__(self, process: Process, api: Api) -> None:
        self._process = process
        self._api = api
        self.longest_s = 0.0
        self.peak_bytes = self.read_memory_bytes()

    def read_memory_bytes(self) -> int:
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    async def measure(self) -> None:
        while True:
            sent = time.monotonic()
            assert (await self._api.http.get("/health/live")).status_code == 200
            self.longest_s = max(self.longest_s, time.monotonic() - sent)
            self.peak_bytes = max(self.peak_bytes, self.read_memory_bytes())
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def _measure(process: Process) -> AsyncIterator[_Delays]:
    async with client_of(process.url) as api:
        delays = _Delays(process, api)
        task = asyncio.create_task(delays.measure())
        try:
            yield delays
            await asyncio.sleep(0)
            if task.done():
                task.result()
        finally:
            task.cancel()


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_hostile_response_ends_its_run_and_delays_no_other_client(
    attacked: Process, victim: Api, name: str
) -> None:
    async with _measure(attacked) as before:
        await asyncio.sleep(0.3)
    async with _measure(attacked) as during:
        start = during.peak_bytes
        events = await victim.ask(ensemble=name)
    assert_whole(events)
    last = events[-1].data
    if last["status"] != "Completed":
        assert name not in COMPLETE, last
        assert last["code"].startswith("upstream_"), last
        assert last["message"]
    assert last["elapsed_ms"] < 10_000
    assert during.peak_bytes - start < MAX_GROWTH_BYTES
    assert during.longest_s < MAX_DELAY_S + 5 * before.longest_s
