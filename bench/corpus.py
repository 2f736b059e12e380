"""Generated runs for the search rows, with word frequencies of real texts, stored in bulk."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it has no stubs

from service.store.migrate import migrate
from tests._support.servers.databases import Postgres

OWNER = "anonymous"
# Search words, and the percentage of runs that contain them.
MARKS = {"hourly": 50.0, "weekly": 50.0, "monthly": 5.0, "yearly": 1.0, "new year": 1.0}
ONCE = "comet"  # in exactly one run

_OTHERS = 5  # percentage of runs that belong to another owner
_WORDS, _QUESTION_WORDS, _ANSWER_WORDS = 20_000, 10, 80
_FIRST_RUN_AT = datetime(2026, 1, 1, tzinfo=UTC)
_SYLLABLES = (
    "ba co di fu ge ha ki lo mu ne pa ri so tu ve wa xi yo za thra stre".split()  # noqa: SIM905
)
_ENDINGS = ["", "", "", "s", "ing", "ed", "er", "ation", "ly", "ness"]
_COLUMNS = (
    "id", "owner", "conversation_id", "message_id", "state", "question", "answer", "ensemble",
    "config_hash", "trace_id", "worker_id", "stream_agents", "created_at", "ended_at",
    "elapsed_ms", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    "usage_estimated", "degraded", "last_seq", "events_expired",
)  # fmt: skip

_CONVERSATION = ("owner", "id", "title", "created_at", "updated_at")
_BATCH = 10_000  # rows in memory at once
_SELECT_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
_INSERT_COUNTS = """
    INSERT INTO counts (owner, runs, conversations)
    SELECT owner, count(*), count(*) FROM runs GROUP BY owner
"""

Row = tuple[object, ...]


async def fill_sqlite(path: Path, runs: int) -> str:
    """Create a database of `runs` runs, each in its own conversation, and return its URL.

    The search indexes are built last, from the complete table: with the triggers a million runs
    take twice as long.
    """
    url = f"sqlite:///{path}"
    await migrate(url)
    await asyncio.to_thread(_fill_sqlite, path, runs)
    return url


def _fill_sqlite(path: Path, runs: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        triggers = connection.execute(_SELECT_TRIGGERS).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(
            "INSERT INTO configs VALUES ('hash', 'fanout', '{}', ?)", (_format_time(_FIRST_RUN_AT),)
        )
        for batch in _generate_batches(runs):
            made = [[_to_sqlite(value) for value in row] for row in batch]
            connection.executemany(_insert("conversations", _CONVERSATION), map(_converse, made))
            connection.executemany(_insert("runs", _COLUMNS), made)
        connection.execute(_INSERT_COUNTS)
        for index in ("run_stems", "run_words"):
            connection.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")
        for _, statement in triggers:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def fill_postgresql(server: Postgres, runs: int) -> str:
    """Fill a new PostgreSQL database likewise; the indexes are created last, as in a restore."""
    url = server.new_database()
    await migrate(url)
    place = server.url(url.rpartition("/")[2])  # COPY needs a superuser
    connection = await asyncpg.connect(place)
    try:
        await connection.execute("SET maintenance_work_mem = '1GB'")
        indexes = await connection.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%USING gin%'"
        )
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        await connection.execute("SET session_replication_role = replica")  # without triggers
        await connection.execute(
            "INSERT INTO configs VALUES ('hash', 'fanout', '{}', $1)", _FIRST_RUN_AT
        )
        for batch in _generate_batches(runs):
            await connection.copy_records_to_table(
                "conversations", records=map(_converse, batch), columns=_CONVERSATION
            )
            await connection.copy_records_to_table("runs", records=batch, columns=_COLUMNS)
        await connection.execute(_INSERT_COUNTS)
        await asyncio.gather(*(_index_runs(place, *part) for part in _halve(runs)))
        for _, definition in indexes:
            await connection.execute(definition)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return url


async def _index_runs(url: str, first: int, last: int) -> None:
    """Add a range of run numbers to the search index, over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT index_run(runs) FROM runs WHERE number BETWEEN $1 AND $2 ORDER BY number",
            first,
            last,
        )
    finally:
        await connection.close()


def _halve(runs: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (1, runs // 2), (runs // 2 + 1, runs)


def list_rare_words() -> list[str]:
    """Return words of the corpus that about 1 % of the runs contain."""
    return _build_vocabulary()[900:910]


def _generate_batches(runs: int) -> Iterator[list[Row]]:
    rows = _generate_rows(runs)
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch


def _converse(run: Sequence[object]) -> Row:
    """Return the row of a run's conversation, from the run's row."""
    owner, conversation, at = run[1], run[2], run[12]
    return owner, conversation, "A title", at, at


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _generate_rows(runs: int) -> Iterator[Row]:
    chance = random.Random(1)
    words = _build_vocabulary()
    weights = list(itertools.accumulate(1 / (place + 2) for place in range(len(words))))
    for number in range(runs):
        text = chance.choices(words, cum_weights=weights, k=_QUESTION_WORDS + _ANSWER_WORDS)
        text += [mark for mark, share in MARKS.items() if chance.random() * 100 < share]
        text += [ONCE] if number == runs // 3 else []
        question, answer = " ".join(text[:_QUESTION_WORDS]), " ".join(text[_QUESTION_WORDS:])
        owner = "somebody else" if chance.random() * 100 < _OTHERS else OWNER
        at = _FIRST_RUN_AT + timedelta(seconds=number)
        yield (
            f"run_{number:012x}{number:020x}", owner, f"conv_{number}", f"message_{number}",
            "completed", question, answer, "fanout", "hash", "0" * 32, "worker", False, at, at,
            12.5, 100, 200, 0, 0, False, False, 9, False,
        )  # fmt: skip


def _build_vocabulary() -> list[str]:
    """Return words by descending frequency: word n has 1/n of the frequency of the first (Zipf)."""
    chance = random.Random(2)
    made: dict[str, None] = {}
    while len(made) < _WORDS:
        syllables = chance.choices(_SYLLABLES, k=chance.randint(1, 4))
        made["".join(syllables) + chance.choice(_ENDINGS)] = None
    return list(made)


def _to_sqlite(value: object) -> object:
    return _format_time(value) if isinstance(value, datetime) else value


def _format_time(moment: datetime) -> str:
    """Return a time in SQLAlchemy's format for SQLite."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
