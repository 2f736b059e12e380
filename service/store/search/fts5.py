# ruff: noqa: S608  # statements composed of constants of this file
"""Search index of SQLite: FTS5. Source: https://www.sqlite.org/fts5.html"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.database import Database
from service.store.search.index import (
    ANSWER_WEIGHT,
    MAX_RANKED,
    QUESTION_WEIGHT,
    RankedRuns,
    SearchRequest,
)
from service.store.search.query import to_fts5
from service.store.search.spans import Forms

_INDEXES = ("run_stems", "run_words")
_HAS_SECURE_DELETE = sqlite3.sqlite_version_info >= (3, 42)
_MAX_ROWS_PER_CANDIDATE = 16  # matches of all owners for each row that is ranked
_MERGE_PAGES = 300  # in one transaction, which takes about 50 ms

# FTS5 reads from the newest row backwards and stops at the limit.
_SELECT_CANDIDATES = f"""
    SELECT rowid FROM {{index}} WHERE {{index}} MATCH :match
    ORDER BY rowid DESC LIMIT {MAX_RANKED + 1}
"""
_COUNT_MATCHES = """
    SELECT count(*) FROM (
        SELECT 1 FROM {index} WHERE {index} MATCH :match AND rowid >= :oldest LIMIT :most
    )
"""
_SELECT_RANKED = f"""
    SELECT rowid AS number, -bm25({{index}}, 0, {QUESTION_WEIGHT}, {ANSWER_WEIGHT}) AS score
    FROM {{index}} WHERE {{index}} MATCH :match AND rowid >= :oldest
        AND +rowid IN (SELECT value FROM json_each(:numbers))
    ORDER BY score DESC, rowid DESC LIMIT :limit OFFSET :offset
"""
_STEMMER = "CREATE VIRTUAL TABLE words USING fts5(word, tokenize='porter unicode61')"


class Fts5:
    """The tables `run_stems` and `run_words`; the owner is an indexed word."""

    async def find(
        self, connection: AsyncConnection, request: SearchRequest, limit: int, offset: int
    ) -> RankedRuns:
        owned = f"(owner : {_encode_owner(request.owner)}) AND ({_make_expression(request)})"
        candidates = _format_statement(_SELECT_CANDIDATES, request)
        numbers = (await connection.scalars(candidates, {"match": owned})).all()
        if not numbers:
            return RankedRuns({}, 0, is_capped=False)
        newest = [*numbers[:MAX_RANKED]]
        is_mixed = await _is_mixed_with_others(connection, request, newest)
        values = {
            # bm25 counts the rows of every word, including the owner's: 25 ms for a million. Omit
            # the owner if only few rows of other owners are then read in vain.
            "match": owned if is_mixed else _make_expression(request),
            "oldest": newest[-1],
            "numbers": json.dumps(newest),
            "limit": limit,
            "offset": offset,
        }
        rows = await connection.execute(_format_statement(_SELECT_RANKED, request), values)
        return RankedRuns(
            {row.number: row.score for row in rows}, len(newest), len(numbers) > MAX_RANKED
        )

    async def find_forms(
        self, connection: AsyncConnection, words: Collection[str], similar: Collection[str]
    ) -> Forms:
        del connection
        return await asyncio.to_thread(_find_forms, words, similar)


async def enable_secure_delete(connection: AsyncConnection) -> None:
    """Make FTS5 remove the words of deleted rows, instead of marking the rows as deleted."""
    if connection.dialect.name == "sqlite" and _HAS_SECURE_DELETE:
        for index in _INDEXES:
            await connection.exec_driver_sql(
                f"INSERT INTO {index} ({index}, rank) VALUES ('secure-delete', 1)"
            )


async def purge_deleted_text(database: Database) -> None:
    """Erase deleted text from SQLite's write-ahead log and, on older versions, from the index.

    Best effort: the next call erases the rest.
    """
    if database.dialect != "sqlite":
        return
    with suppress(StorageUnavailable):
        for index in () if _HAS_SECURE_DELETE else _INDEXES:
            pages = -_MERGE_PAGES  # negative: start a merge of the complete index
            while await database.write(partial(_merge_step, index, pages)):
                pages = _MERGE_PAGES
        await database.checkpoint()


async def _merge_step(index: str, pages: int, connection: AsyncConnection) -> bool:
    """Rewrite part of the index without deleted rows; return whether more may be left."""
    changes = sa.text("SELECT total_changes()")
    before = await connection.scalar(changes)
    merge = sa.text(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', :pages)")
    await connection.execute(merge, {"pages": pages})
    after = await connection.scalar(changes)
    # Source: https://www.sqlite.org/fts5.html#the_merge_command
    return int(after or 0) - int(before or 0) > 1


def _format_statement(sql: str, request: SearchRequest) -> sa.TextClause:
    return sa.text(sql.format(index="run_stems" if request.is_stemmed else "run_words"))


def _make_expression(request: SearchRequest) -> str:
    return f"{{question answer}} : ({to_fts5(request.query)})"


async def _is_mixed_with_others(
    connection: AsyncConnection, request: SearchRequest, newest: Sequence[int]
) -> bool:
    """Return whether most matches since the oldest of the owner's `newest` are of other owners."""
    most = _MAX_ROWS_PER_CANDIDATE * len(newest)
    counted = _format_statement(_COUNT_MATCHES, request)
    values = {"match": _make_expression(request), "oldest": newest[-1], "most": most}
    return int(await connection.scalar(counted, values) or 0) == most


def _encode_owner(owner: str) -> str:
    """Return the owner as in the index: a word that tokenizers and stemmers leave unchanged."""
    return f"o{owner.encode('utf-8', 'replace').hex()}0"


def _find_forms(words: Collection[str], similar: Collection[str]) -> Forms:
    """Return the words with the same stem, from an index in memory with the same stemmer."""
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(_STEMMER)
        memory.executemany("INSERT INTO words VALUES (?)", [(word,) for word in similar])
        match = "SELECT word FROM words WHERE words MATCH ?"
        return {
            word: {word, *(row[0] for row in memory.execute(match, (f'"{word}"',)))}
            for word in words
        }
