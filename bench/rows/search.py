"""Duration of searches and history pages, their growth with the data, and commits meanwhile."""

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

from bench.corpus import MARKS, ONCE, OWNER, list_rare_words
from bench.lab import Lab
from bench.load import percentile
from bench.processes import Process
from bench.table import Line, format_count
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.history import History
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.search.search import Search
from tests._support.runs.store_records import make_run, make_run_end

_PAGE = 10
_LEAST_MS = {"search": 50.0, "history page": 10.0}
_START_TIMEOUT_S = 30.0
_QUERIES = (
    *MARKS,
    "hourly weekly",
    "hourly -weekly",
    '"new year"',
    "yearly or monthly",
    "yearly -monthly",
    ONCE,
    "nowhere",
    *list_rare_words()[:4],
    " ".join(list_rare_words()[4:6]),
    " or ".join(list_rare_words()[6:]),
)

Query = Callable[[], Awaitable[object]]


async def measure_search_sqlite(lab: Lab) -> list[Line]:
    """Measure queries in SQLite files."""
    return await _measure_lines(lab, "SQLite")


async def measure_search_postgresql(lab: Lab) -> list[Line]:
    """Measure queries in PostgreSQL."""
    return await _measure_lines(lab, "PostgreSQL")


async def _measure_lines(lab: Lab, name: str) -> list[Line]:
    sizes = lab.choose((1_000, 30_000, 1_000_000), (100, 200, 400))
    urls = {runs: await lab.databases.get_corpus(name, runs) for runs in sizes}
    timed = await _time_queries(lab, urls)
    found = [line for what in timed[0].took_ms for line in _build_lines(what, name, timed)]
    return [*found, await _measure_commits(lab, name, urls[max(urls)])]


# --- queries ---


@dataclass(slots=True)
class _TimedDatabase:
    """A database of `runs` runs, and the durations of its queries in each turn."""

    runs: int
    queries: dict[str, list[Query]]
    took_ms: dict[str, list[list[float]]] = field(default_factory=dict)

    def p95_ms(self, what: str) -> float:
        """Return the median of the turns' p95, since other load may affect a turn."""
        return median(percentile(turn, 0.95) for turn in self.took_ms[what])

    def p50_ms(self, what: str) -> float:
        return median(map(median, self.took_ms[what]))


async def _time_queries(lab: Lab, urls: dict[int, str]) -> list[_TimedDatabase]:
    """Query all databases in turns; the first turn is a warm-up."""
    databases = {runs: Database(url) for runs, url in urls.items()}
    timed = [
        _TimedDatabase(runs, _list_queries(database, runs)) for runs, database in databases.items()
    ]
    try:
        for turn in range(lab.choose(8, 1) + 1):
            for shelf in timed:
                for what, queries in shelf.queries.items():
                    took = [await _time_ms(query) for query in queries]
                    if turn:
                        shelf.took_ms.setdefault(what, []).append(took)
    finally:
        for database in databases.values():
            await database.close()
    return timed


def _list_queries(database: Database, runs: int) -> dict[str, list[Query]]:
    """Return the timed queries: searches of all kinds, and pages from all positions."""
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


async def _time_ms(query: Query) -> float:
    started = time.perf_counter()
    await query()
    return (time.perf_counter() - started) * 1000


def _build_lines(what: str, name: str, timed: list[_TimedDatabase]) -> list[Line]:
    """Return lines with the durations in the largest database and their growth."""
    most = timed[-1]
    p95s = [shelf.p95_ms(what) for shelf in timed]
    slowest = max(max(turn) for turn in most.took_ms[what])
    note = f"p50 {most.p50_ms(what):.1f} ms, slowest {slowest:.1f} ms"
    grown = ", ".join(
        f"{p95:.1f} ms at {format_count(shelf.runs)}"
        for shelf, p95 in zip(timed, p95s, strict=True)
    )
    title = f"{what}, {name}, {format_count(most.runs)} conversations"
    least = _LEAST_MS.get(what)
    if least is None:
        return [Line(title, f"p95 {p95s[-1]:.1f} ms", "", f"{note}; {grown}")]
    return [
        Line(title, f"p95 {p95s[-1]:.1f} ms", f"p95 ≤ {least:.0f} ms", note, p95s[-1] <= least),
        Line(
            f"its growth from {format_count(timed[0].runs)}",
            f"{p95s[-1] / p95s[0]:.2f} ×",
            "no worse than the logarithm",
            f"p95 {grown}; p50 {timed[0].p50_ms(what):.1f} ms at first",
            _is_logarithmic(p95s, most.runs / timed[0].runs, timed[0].runs),
        ),
    ]


def _is_logarithmic(p95s: list[float], times: float, few: int) -> bool:
    """Return whether the growth is logarithmic.

    True if the second step adds at most 10 % more than the first, or if the total growth is below
    the logarithm's.
    """
    earlier, later = p95s[1] - p95s[0], p95s[2] - p95s[1]
    return later <= 1.1 * earlier or p95s[2] / p95s[0] <= 1 + math.log(times) / math.log(few)


# --- commits during searches ---


async def _measure_commits(lab: Lab, name: str, url: str) -> Line:
    """Compare commits of ten runs without and with a parallel search process."""
    database = Database(url)
    journal = JournalWriter(database)
    alone: list[float] = []
    meanwhile: list[float] = []
    try:
        await _time_commits(lab, journal)
        for _ in range(lab.choose(3, 1)):
            alone += await _time_commits(lab, journal)
            async with _searching(lab, url):
                meanwhile += await _time_commits(lab, journal)
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
    """Search continuously in another process."""
    process = Process.start(
        f"searcher-{len(lab.processes)}", ["bench.searcher", url], lab.folder, {}
    )
    lab.processes.append(process)
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while "searching" not in process.read_log_tail():
                await asyncio.sleep(0.05)
        yield
    finally:
        await process.stop()


async def _time_commits(lab: Lab, journal: JournalWriter) -> list[float]:
    """Return the milliseconds of each commit of ten runs, questions and answers together."""
    durations_ms = []
    for _ in range(lab.choose(60, 5)):
        runs = [make_run("hourly weekly", owner=OWNER) for _ in range(10)]
        ends = [make_run_end(run, answer="monthly " * 40) for run in runs]
        durations_ms.append(
            await _time_ms(partial(journal.write, Batch(openings=runs, endings=ends)))
        )
    return durations_ms
