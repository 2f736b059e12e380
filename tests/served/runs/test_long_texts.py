"""Long texts do not delay other requests, on both databases.

The limits are far above the delays of a busy machine, and far below those of a service that reads
or encodes such texts as one piece: that blocked its event loop for seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from service.store.migrate import migrate
from tests._support.clients.api import Api, answer_of, client_of, connected, events_of
from tests._support.runs.long_runs import (
    ANSWER_CHARS,
    CONVERSATION,
    QUESTION_CHARS,
    QUESTIONS,
    TURNS,
    LongRuns,
    store_long_runs,
)
from tests._support.servers.databases import Postgres
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told

MAX_DELAY_S = 1.0
SEARCH = "/search?query=lorem+tide+-unicorn&limit=100"


@dataclass(frozen=True)
class Library:
    """A service with long texts in its database."""

    process: Process
    runs: LongRuns


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def library(
    request: pytest.FixtureRequest, told: Told, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Library]:
    folder: Path = tmp_path_factory.mktemp("library")
    url = f"sqlite:///{folder}/service.db"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.new_database()
    asyncio.run(migrate(url))
    runs = store_long_runs(url)
    settings = told(folder) | {"DATABASE_URL": url}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield Library(process, runs)


@asynccontextmanager
async def measuring_delays(api: Api) -> AsyncIterator[list[float]]:
    """Request the liveness of the service continuously; the list has the seconds of each."""
    delays: list[float] = []

    async def measure() -> None:
        while True:
            start = time.monotonic()
            assert (await api.http.get("/health/live")).status_code == 200
            delays.append(time.monotonic() - start)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(measure())
    try:
        yield delays
    finally:
        task.cancel()


async def test_searches_do_not_delay_other_requests(library: Library) -> None:
    async with client_of(library.process.url) as api, measuring_delays(api) as delays:
        responses = await asyncio.gather(*(api.http.get(SEARCH) for _ in range(3)))
    for response in responses:
        page = response.json()
        assert response.status_code == 200
        assert page["total"] >= QUESTIONS
        assert len(page["items"]) == 100
        assert all("<mark>lorem</mark>" in item["snippet"] for item in page["items"])
        assert all(len(item["prompt"]) > 10_000 for item in page["items"])
    assert max(delays) < MAX_DELAY_S


async def test_a_running_answer_is_not_delayed_by_searches(library: Library) -> None:
    async with client_of(library.process.url) as api:
        searches = [asyncio.create_task(api.http.get(SEARCH)) for _ in range(2)]
        async with api.asked(ensemble="steady") as response:
            arrivals = [time.monotonic() async for _ in response.aiter_raw()]
        assert {(await each).status_code for each in searches} == {200}
    pauses = [after - before for before, after in pairwise(arrivals)]
    assert max(pauses) < MAX_DELAY_S


@pytest.mark.parametrize(
    "path",
    [
        "/history?limit=100",
        f"/history?limit=100&offset={TURNS}",
        f"/api/conversations/{CONVERSATION}",
        f"/api/conversations/{CONVERSATION}/export?format=markdown",
        f"/conversation/session/{CONVERSATION}/history",
        "/history/RUN",
        "/api/runs/RUN",
        "/api/runs/RUN/events",
    ],
)
async def test_long_responses_do_not_delay_other_requests(library: Library, path: str) -> None:
    async with client_of(library.process.url) as api, measuring_delays(api) as delays:
        response = await api.http.get(path.replace("RUN", library.runs.with_events))
    assert response.status_code == 200
    assert len(response.content) > 1_000_000
    assert max(delays) < MAX_DELAY_S


async def test_pages_have_all_texts_in_full_and_in_order(library: Library) -> None:
    async with client_of(library.process.url) as api:
        everything: list[str] = []
        while len(everything) < TURNS + QUESTIONS + 1:
            page = (await api.http.get(f"/history?limit=100&offset={len(everything)}")).json()
            everything += [item["prompt"] for item in page["items"]]
            assert page["items"]
        expected = [
            *(f"Turn {number}" for number in reversed(range(TURNS))),
            *(f"Question {number}" for number in reversed(range(QUESTIONS))),
        ]
        stored = [each for each in everything if ":" in each]
        assert [each.partition(":")[0] for each in stored][-len(expected) :] == expected
        questions = [each for each in everything if each.startswith("Question ")]
        assert {len(each.partition(": ")[2]) for each in questions} == {QUESTION_CHARS}


async def test_a_conversation_has_all_turns_in_order(library: Library) -> None:
    async with client_of(library.process.url) as api:
        shown = (await api.http.get(f"/api/conversations/{CONVERSATION}")).json()
        listed = (await api.http.get(f"/conversation/session/{CONVERSATION}/history")).json()
        exported = (
            await api.http.get(f"/api/conversations/{CONVERSATION}/export?format=markdown")
        ).text
    assert shown["messages"] == listed["messages"]
    questions = [each["content"] for each in shown["messages"] if each["role"] == "user"]
    assert [each.partition(":")[0] for each in questions] == [f"Turn {n}" for n in range(TURNS)]
    assert exported.count("\n## Question, ") == TURNS
    places = [exported.index(f"> Turn {number}: ") for number in range(TURNS)]
    assert places == sorted(places)


async def test_a_long_answer_is_complete(library: Library) -> None:
    run_id = library.runs.with_events
    async with client_of(library.process.url) as api:
        shown = await api.shown(run_id)
        item = (await api.http.get(f"/history/{run_id}")).json()
        events = events_of((await api.http.get(f"/api/runs/{run_id}/events")).content)
    assert len(item["response"]) == ANSWER_CHARS
    assert shown["answer"] == item["response"] == answer_of(events)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="NOT TESTED: no /proc here")
async def test_searches_without_a_client_stop(library: Library) -> None:
    """Searches that continue would use as much CPU as complete ones; each uses a fraction."""
    service = library.process.pid
    async with client_of(library.process.url) as api:
        assert (await api.http.get(SEARCH)).status_code == 200
        before = _read_cpu_s(service)
        assert (await api.http.get(SEARCH)).status_code == 200
        complete_s = _read_cpu_s(service) - before
        before = _read_cpu_s(service)
        for _ in range(12):
            async with connected(library.process.port) as (_reader, writer):
                writer.write(f"GET {SEARCH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                await writer.drain()
                await asyncio.sleep(0.05)
        # Searches are executed two at a time, so this one waits for those that continue.
        assert (await api.http.get("/search?query=lorem&limit=1")).status_code == 200
        used_s = _read_cpu_s(service) - before
    assert used_s < 6 * complete_s


def _read_cpu_s(pid: int) -> float:
    """Return the CPU time of a process. Source: proc_pid_stat(5)"""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
