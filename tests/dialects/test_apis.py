"""The main stream of each server gives the same text on every API."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests._support.clients import readers
from tests._support.clients.api import Api, client_of, of_type
from tests._support.llm.dialects import Exchange, read_streams
from tests._support.llm.ensembles import as_toml
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

STREAMS = read_streams()


class Replay:
    """A model server in a thread: answers every request with the present exchange."""

    def __init__(self) -> None:
        self.exchange = STREAMS[0]
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        self._is_listening.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._is_listening.set()
        self._loop.run_forever()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        ]
        await reader.readexactly(length)
        writer.write(self.exchange.response)
        await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    server = Replay()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def replayed(replay: Replay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service whose default ensemble has one agent, which the replay answers."""
    folder: Path = tmp_path_factory.mktemp("service")
    ensemble = {"strategy": "solo", "agents": ["llm-1"]}
    file = folder / "ensembles.toml"
    agents = {"llm-1": {"model": "some-model"}}
    file.write_text(as_toml(agents, {"fanout": ensemble}, {}, replay.url))
    settings = {
        "USE_LLM_MOCK": "false",
        "LLM_BASE_URL": replay.url,
        "LLM_KEY": "none",
        "ENSEMBLES_FILE": str(file),
        **UNHURRIED_STORE,
    }
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
async def api(replayed: Process) -> AsyncIterator[Api]:
    async with client_of(replayed.url) as api:
        yield api


@pytest.mark.parametrize("exchange", STREAMS, ids=[each.server for each in STREAMS])
async def test_every_api_delivers_and_stores_the_same_text(
    api: Api, replay: Replay, exchange: Exchange
) -> None:
    replay.exchange = exchange
    for name, reader in readers.READERS.items():
        heard = await reader(api.http, "Why do things fall?")
        assert heard.text == exchange.text, name
        stored = await readers.kept(api.http, heard)
        assert stored == dict.fromkeys(stored, exchange.text), name


@pytest.mark.parametrize("exchange", STREAMS, ids=[each.server for each in STREAMS])
async def test_reasoning_and_usage_are_reported_apart_from_the_text(
    api: Api, replay: Replay, exchange: Exchange
) -> None:
    replay.exchange = exchange
    events = await api.ask("Why do things fall?", stream_reasoning=True)
    thoughts = of_type(events, "answer.reasoning", "agent.reasoning")
    assert "".join(each["message"] for each in thoughts).strip() == exchange.reasoning
    if exchange.usage:
        usage = events[-1].data["usage"]
        assert usage["input_tokens"] == exchange.usage["input"]
        assert usage["output_tokens"] == exchange.usage["output"]
