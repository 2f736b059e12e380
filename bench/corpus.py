"""Runs to look through: made of words that are as frequent as in real texts, stored in bulk."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it has no stubs

from service.store.migrate import migrate

OWNER = "anonymous"
# What to search for, and how many of a hundred runs have it.
MARKS = {"hourly": 50.0, "weekly": 50.0, "monthly": 5.0, "yearly": 1.0, "new year": 1.0}
ONCE = "comet"  # in one run

_OTHERS = 5  # of a hundred runs belong to somebody else
_WORDS, _QUESTION_WORDS, _ANSWER_WORDS = 20_000, 10, 80
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
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
    """Make a database of `runs` runs, each a conversation, and return its URL."""
    url = f"sqlite:///{path}"
    await migrate(url)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO configs VALUES ('hash', 'fanout', '{}', ?)", (_local(_BEGIN),))
    made = [[_plain(value) for value in row] for row in _rows(runs)]
    connection.executemany(
        f"INSERT INTO conversations ({', '.join(_CONVERSATION)}) VALUES (?, ?, 'A title', ?, ?)",
        [(row[1], row[2], row[12], row[12]) for row in made],
    )
    holes = ", ".join("?" * len(_COLUMNS))
    connection.executemany(f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES ({holes})", made)
    connection.execute("COMMIT")
    connection.close()
    return url


async def fill_postgresql(url: str, runs: int) -> str:
    """The same in an empty PostgreSQL database; the indexes are made last, as a restore does."""
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("INSERT INTO configs VALUES ('hash', 'fanout', '{}', $1)", _BEGIN)
        made = list(_rows(runs))
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


def rare_words() -> list[str]:
    """Return some words of the corpus that are in about one run of a hundred."""
    return _vocabulary()[900:910]


def _rows(runs: int) -> Iterator[Row]:
    chance = random.Random(1)
    words = _vocabulary()
    weights = list(itertools.accumulate(1 / (place + 2) for place in range(len(words))))
    for number in range(runs):
        said = chance.choices(words, cum_weights=weights, k=_QUESTION_WORDS + _ANSWER_WORDS)
        said += [mark for mark, share in MARKS.items() if chance.random() * 100 < share]
        said += [ONCE] if number == runs // 3 else []
        question, answer = " ".join(said[:_QUESTION_WORDS]), " ".join(said[_QUESTION_WORDS:])
        owner = "somebody else" if chance.random() * 100 < _OTHERS else OWNER
        at = _BEGIN + timedelta(seconds=number)
        yield (
            f"run_{number:012x}{number:020x}", owner, f"conv_{number}", f"message_{number}",
            "completed", question, answer, "fanout", "hash", "0" * 32, "worker", False, at, at,
            12.5, 100, 200, 0, 0, False, False, 9, False,
        )  # fmt: skip


def _vocabulary() -> list[str]:
    """Return words, the most frequent first: the one at place n is 1/n as frequent as the first."""
    chance = random.Random(2)
    made: dict[str, None] = {}
    while len(made) < _WORDS:
        syllables = chance.choices(_SYLLABLES, k=chance.randint(1, 4))
        made["".join(syllables) + chance.choice(_ENDINGS)] = None
    return list(made)


def _plain(value: object) -> object:
    return _local(value) if isinstance(value, datetime) else value


def _local(moment: datetime) -> str:
    """Return a time as SQLAlchemy has it in SQLite."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
