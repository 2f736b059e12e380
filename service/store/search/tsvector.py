# ruff: noqa: S608  # statements composed of constants of this file
"""Search index of PostgreSQL: full text search. Source: https://www.postgresql.org/docs/16/textsearch.html"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.search.index import (
    ANSWER_WEIGHT,
    MAX_RANKED,
    QUESTION_WEIGHT,
    RankedRuns,
    SearchRequest,
)
from service.store.search.query import to_tsquery
from service.store.search.spans import Forms

# The index limits a search to blocks of runs, starting with the newest, so that a search for
# common words does not read every run that matches.
_BLOCK_BITS = 12
_MIN_BLOCKS, _MAX_BLOCKS = 2, 64
_BLOCK_MARGIN = 1.3  # times the number of blocks that is expected to suffice

_TSQUERY = "to_tsquery('{config}', :query)"
# "+ 0" keeps the planner from scanning the primary key, which is slow when its estimate is wrong.
_SELECT_CANDIDATES = f"""
    SELECT number, ctid AS place FROM {{index}}
    WHERE keys && CAST(:keys AS text[]) AND vector @@ {_TSQUERY}
    ORDER BY number + 0 DESC LIMIT {MAX_RANKED + 1}
"""
# The weights are for words labelled D, C, B (answer) and A (question); the option 1 lowers the
# rank of longer texts.
_SELECT_RANKED = f"""
    SELECT number, ts_rank(
        '{{{{0, 0, {ANSWER_WEIGHT}, {QUESTION_WEIGHT}}}}}', vector, {_TSQUERY}, 1
    ) AS rank
    FROM {{index}} WHERE ctid = ANY (CAST(:places AS tid[]))
    ORDER BY rank DESC, number DESC LIMIT :limit OFFSET :offset
"""
_SELECT_STEMS = sa.text("""
    SELECT word, (ts_lexize('search_stems', word))[1] AS stem
    FROM unnest(CAST(:words AS text[])) AS word
""")
_SELECT_NEWEST_NUMBER = sa.text("SELECT max(number) FROM run_words")


RowLocation = tuple[int, int]  # `ctid`: the page of a row and its position there


class Tsvector:
    """The tables `run_stems` and `run_words`, each with a GIN index."""

    async def find(
        self, connection: AsyncConnection, request: SearchRequest, limit: int, offset: int
    ) -> RankedRuns:
        places = await _find_newest_matches(connection, request)
        if not places:
            return RankedRuns({}, 0, is_capped=False)
        # A transaction with a snapshot sees rows at fixed locations.
        candidates = places[:MAX_RANKED]
        values = {"places": candidates, "limit": limit, "offset": offset}
        positive = replace(request, query=request.query.positive)
        rows = await _execute(connection, _SELECT_RANKED, positive, values)
        return RankedRuns(
            {row.number: row.rank for row in rows}, len(candidates), len(places) > MAX_RANKED
        )

    async def find_forms(
        self, connection: AsyncConnection, words: Collection[str], similar: Collection[str]
    ) -> Forms:
        # As in the index, words with a digit have no stem.
        plain = [word for word in {*words, *similar} if word.isalpha()]
        rows = await connection.execute(_SELECT_STEMS, {"words": plain})
        stems = {row.word: row.stem for row in rows}
        by_stem: dict[str, set[str]] = {}
        for word in similar:
            by_stem.setdefault(stems.get(word, word), set()).add(word)
        return {word: {word, *by_stem.get(stems.get(word, word), ())} for word in words}


async def _find_newest_matches(
    connection: AsyncConnection, request: SearchRequest
) -> list[RowLocation]:
    """Return the locations of the newest matches, at least one more than are ranked if possible."""
    newest = await connection.scalar(_SELECT_NEWEST_NUMBER)
    last = (newest or 0) >> _BLOCK_BITS
    blocks = _MIN_BLOCKS
    while True:
        is_all = blocks > min(last, _MAX_BLOCKS)
        keys = [f"{last - back} {request.owner}" for back in range(blocks)]
        values = {"keys": [f"o{request.owner}"] if is_all else keys}
        rows = await _execute(connection, _SELECT_CANDIDATES, request, values)
        places = [row.place for row in rows]
        if is_all or len(places) > MAX_RANKED:
            return places
        blocks = max(blocks + 1, int(_BLOCK_MARGIN * blocks * MAX_RANKED / max(len(places), 1)))


async def _execute(
    connection: AsyncConnection, sql: str, request: SearchRequest, values: Mapping[str, Any]
) -> sa.CursorResult[Any]:
    index, config = ("run_stems", "search_en") if request.is_stemmed else ("run_words", "simple")
    statement = sa.text(sql.format(index=index, config=config))
    return await connection.execute(statement, {"query": to_tsquery(request.query), **values})
