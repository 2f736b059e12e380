"""Looking things up: what a search and a page of history take, and how that grows with the data.

Also whether who writes waits for those who search.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import pytest

from bench.corpus import MARKS, ONCE, OWNER, fill_postgresql, fill_sqlite, rare_words
from bench.lab import Lab
from bench.load import percentile
from bench.processes import BenchError, Process
from bench.table import Line, thousands
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.history import History
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.search.search import Search
from tests._support.runs.store_records import make_run, make_run_end
from tests._support.servers.databases import postgres_server

_PAGE = 10
_LEAST_MS = {"search": 50.0, "history page": 10.0}
_PATIENCE_S = 30.0
_QUERIES = (
    *MARKS,
    "hourly weekly",
    "hourly -weekly",
    '"new year"',
    "yearly or monthly",
    "yearly -monthly",
    ONCE,
    "nowhere",
    *rare_words()[:4],
    " ".join(rare_words()[4:6]),
    " or ".join(rare_words()[6:]),
)

Look = Callable[[], Awaitable[object]]


async def search_sqlite(lab: Lab) -> list[Line]:
    """Look things up in SQLite files."""
    urls = {runs: await fill_sqlite(lab.folder / f"search-{runs}.db", runs) for runs in _sizes(lab)}
    return await _lines(lab, "SQLite", urls)


async def search_postgresql(lab: Lab) -> list[Line]:
    """Look things up in PostgreSQL."""
    try:
        with postgres_server(fsync="on", full_page_writes="on", shared_buffers="128MB") as server:
            urls = {
                runs: await fill_postgresql(server.new_database(), runs) for runs in _sizes(lab)
            }
            return await _lines(lab, "PostgreSQL", urls)
    except pytest.skip.Exception as missing:
        raise BenchError(str(missing)) from missing


def _sizes(lab: Lab) -> tuple[int, ...]:
    return lab.pick((1_000, 10_000, 100_000), (100, 200, 400))


async def _lines(lab: Lab, name: str, urls: dict[int, str]) -> list[Line]:
    shelves = await _waits(lab, urls)
    found = [line for what in shelves[0].took_ms for line in _looked(what, name, shelves)]
    return [*found, await _written(lab, name, urls[max(urls)])]


# --- looking ---


@dataclass(slots=True)
class _Shelf:
    """A database of `runs` runs, and how long looks at it took, turn by turn."""

    runs: int
    looks: dict[str, list[Look]]
    took_ms: dict[str, list[list[float]]] = field(default_factory=dict)

    def p95_ms(self, what: str) -> float:
        """Return the usual turn's: in another, the machine was busy with something else."""
        return median(percentile(turn, 0.95) for turn in self.took_ms[what])

    def p50_ms(self, what: str) -> float:
        return median(map(median, self.took_ms[what]))


async def _waits(lab: Lab, urls: dict[int, str]) -> list[_Shelf]:
    """Look at all databases in turns; how long the first turn takes is left out."""
    databases = {runs: Database(url) for runs, url in urls.items()}
    shelves = [_Shelf(runs, _looks(database, runs)) for runs, database in databases.items()]
    try:
        for turn in range(lab.pick(8, 1) + 1):
            for shelf in shelves:
                for what, looks in shelf.looks.items():
                    took = [await _took_ms(look) for look in looks]
                    if turn:
                        shelf.took_ms.setdefault(what, []).append(took)
    finally:
        for database in databases.values():
            await database.close()
    return shelves


def _looks(database: Database, runs: int) -> dict[str, list[Look]]:
    """Return what is timed: searches of all kinds, and pages from anywhere."""
    search, history = Search(database), History(database)
    conversations = Conversations(database)
    chance = random.Random(3)
    near = [chance.randrange(min(runs, 1_000) * 9 // 10) for _ in range(30)]
    anywhere = [chance.randrange(runs * 9 // 10) for _ in range(30)]
    return {
        "search": [
            partial(search.find, OWNER, query, lang, _PAGE)
            for query in _QUERIES
            for lang in ("en", "simple")
        ],
        "history page": [
            *(partial(history.list_page, OWNER, _PAGE, place) for place in near),
            *(
                partial(history.list_page, OWNER, _PAGE, 0, f"run_{place:012x}")
                for place in anywhere
            ),
        ],
        "history page at any offset": [
            partial(history.list_page, OWNER, _PAGE, place) for place in anywhere
        ],
        "conversations page": [
            partial(conversations.list_page, OWNER, _PAGE, place) for place in near
        ],
    }


async def _took_ms(look: Look) -> float:
    began = time.perf_counter()
    await look()
    return (time.perf_counter() - began) * 1000


def _looked(what: str, name: str, shelves: list[_Shelf]) -> list[Line]:
    """Return how long it took with most runs, and how it came to that from few."""
    most = shelves[-1]
    p95s = [shelf.p95_ms(what) for shelf in shelves]
    slowest = max(max(turn) for turn in most.took_ms[what])
    note = f"p50 {most.p50_ms(what):.1f} ms, slowest {slowest:.1f} ms"
    grown = ", ".join(
        f"{p95:.1f} ms at {thousands(shelf.runs)}" for shelf, p95 in zip(shelves, p95s, strict=True)
    )
    title = f"{what}, {name}, {thousands(most.runs)} conversations"
    least = _LEAST_MS.get(what)
    if least is None:
        return [Line(title, f"p95 {p95s[-1]:.1f} ms", "", f"{note}; {grown}")]
    return [
        Line(title, f"p95 {p95s[-1]:.1f} ms", f"p95 ≤ {least:.0f} ms", note, p95s[-1] <= least),
        Line(
            f"its growth from {thousands(shelves[0].runs)}",
            f"{p95s[-1] / p95s[0]:.2f} ×",
            "no worse than the logarithm",
            f"p95 {grown}; p50 {shelves[0].p50_ms(what):.1f} ms at first",
            _is_logarithmic(p95s, most.runs / shelves[0].runs, shelves[0].runs),
        ),
    ]


def _is_logarithmic(p95s: list[float], times: float, few: int) -> bool:
    """Whether a step adds no more than the one before it, within a tenth, or all of it does."""
    earlier, later = p95s[1] - p95s[0], p95s[2] - p95s[1]
    return later <= 1.1 * earlier or p95s[2] / p95s[0] <= 1 + math.log(times) / math.log(few)


# --- writing meanwhile ---


async def _written(lab: Lab, name: str, url: str) -> Line:
    """Compare commits of ten runs alone with those while another process searches."""
    database = Database(url)
    journal = JournalWriter(database)
    alone: list[float] = []
    meanwhile: list[float] = []
    try:
        await _commits(lab, journal)
        for _ in range(lab.pick(3, 1)):
            alone += await _commits(lab, journal)
            async with _searching(lab, url):
                meanwhile += await _commits(lab, journal)
    finally:
        await database.close()
    p95s = [percentile(took, 0.95) for took in (alone, meanwhile)]
    return Line(
        f"a commit of ten runs while another process searches, {name}",
        f"p50 {median(meanwhile) / median(alone):.2f} × alone",
        "",
        f"p50 {median(alone):.1f} and {median(meanwhile):.1f} ms, "
        f"p95 {p95s[0]:.1f} and {p95s[1]:.1f} ms",
    )


@asynccontextmanager
async def _searching(lab: Lab, url: str) -> AsyncIterator[None]:
    """Search without a break in a process of its own."""
    process = Process(f"searcher-{len(lab.processes)}", ["bench.searcher", url], lab.folder, {})
    lab.processes.append(process)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while "searching" not in process.log_tail():
                await asyncio.sleep(0.05)
        yield
    finally:
        await process.stop()


async def _commits(lab: Lab, journal: JournalWriter) -> list[float]:
    """Return how many ms each commit of ten runs took, questions and answers in one."""
    took = []
    for _ in range(lab.pick(60, 5)):
        runs = [make_run("hourly weekly", owner=OWNER) for _ in range(10)]
        ends = [make_run_end(run, answer="monthly " * 40) for run in runs]
        took.append(await _took_ms(partial(journal.write, Batch(openings=runs, endings=ends))))
    return took
