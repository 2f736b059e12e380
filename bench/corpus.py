"""Generated runs for the search rows, with word frequencies of real texts, stored in bulk."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator
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

Row = tuple[object, ...]


async def fill_sqlite(path: Path, runs: int) -> str:
    """Create a database of `runs` runs, each in its own conversation, and return its URL."""
    url = f"sqlite:///{path}"
    await migrate(url)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute(
        "INSERT INTO configs VALUES ('hash', 'fanout', '{}', ?)", (_format_time(_FIRST_RUN_AT),)
    )
    made = [[_to_sqlite(value) for value in row] for row in _generate_rows(runs)]
    connection.executemany(
        f"INSERT INTO conversations ({', '.join(_CONVERSATION)}) VALUES (?, ?, 'A title', ?, ?)",
        [(row[1], row[2], row[12], row[12]) for row in made],
    )
    placeholders = ", ".join("?" * len(_COLUMNS))
    connection.executemany(
        f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES ({placeholders})", made
    )
    connection.execute("COMMIT")
    connection.close()
    return url


async def fill_postgresql(server: Postgres, runs: int) -> str:
    """Fill a new PostgreSQL database likewise; the indexes are created last, as in a restore."""
    url = server.new_database()
    await migrate(url)
    connection = await asyncpg.connect(server.url(url.rpartition("/")[2]))  # COPY needs a superuser
    try:
        await connection.execute(
            "INSERT INTO configs VALUES ('hash', 'fanout', '{}', $1)", _FIRST_RUN_AT
        )
        made = list(_generate_rows(runs))
        conversations = [(row[1], row[2], "A title", row[12], row[12]) for row in made]
        await connection.copy_records_to_table(
            "conversations", records=conversations, columns=_CONVERSATION
        )
        indexes = await connection.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%USING gin%'"
        )
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        await connection.copy_records_to_table("runs", records=made, columns=_COLUMNS)
        for _, definition in indexes:
            await connection.execute(definition)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return url


def list_rare_words() -> list[str]:
    """Return words of the corpus that about 1 % of the runs contain."""
    return _build_vocabulary()[900:910]


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
