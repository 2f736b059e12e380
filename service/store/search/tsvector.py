# ruff: noqa: S608  # statements put together of parts of this file
"""Searching in PostgreSQL: full text search. Source: https://www.postgresql.org/docs/16/textsearch.html"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.search.excerpt import Span
from service.store.search.index import (
    ANSWER_WEIGHT,
    CANDIDATES,
    CHARS,
    QUESTION_WEIGHT,
    Found,
    Request,
    Texts,
)
from service.store.search.query import WORD, Term, fold, websearch

# The index narrows a search to blocks of runs, so that one for common words, which the newest
# runs have plenty of, does not touch all that ever matched.
_BLOCK_BITS = 12
_FIRST_BLOCKS, _MOST_BLOCKS = 2, 64
_MARGIN = 1.3  # more blocks than expected to be enough

_QUERY = "websearch_to_tsquery('{config}', :query)"
# "+ 0": not by walking the primary key, which takes long where the planner guesses wrong.
_CANDIDATES = f"""
    SELECT number, ctid AS place FROM {{index}}
    WHERE keys && CAST(:keys AS text[]) AND vector @@ {_QUERY}
    ORDER BY number + 0 DESC LIMIT {CANDIDATES + 1}
"""
# The numbers are the weights of words labelled D, C, B (answer) and A (question); 1 has longer
# texts count less.
_RANKED = f"""
    SELECT number, ts_rank(
        '{{{{0, 0, {ANSWER_WEIGHT}, {QUESTION_WEIGHT}}}}}', vector, {_QUERY}, 1
    ) AS rank
    FROM {{index}} WHERE ctid = ANY (CAST(:places AS tid[]))
    ORDER BY rank DESC, number DESC LIMIT :limit OFFSET :offset
"""
_STEMS = sa.text("""
    SELECT word, (ts_lexize('search_stems', word))[1] AS stem
    FROM unnest(CAST(:words AS text[])) AS word
""")
_NEWEST = sa.text("SELECT max(number) FROM run_words")


Place = tuple[int, int]  # a row's page and its place in there


class Tsvector:
    """The tables `run_stems` and `run_words`, each with a GIN index."""

    async def find(
        self, connection: AsyncConnection, request: Request, limit: int, offset: int
    ) -> Found:
        places = await _newest(connection, request)
        if not places:
            return Found({}, 0, is_capped=False)
        # Rows do not change their places within a transaction that sees one moment.
        candidates = places[:CANDIDATES]
        values = {"places": candidates, "limit": limit, "offset": offset}
        positive = replace(request, query=request.query.positive)
        rows = await _execute(connection, _RANKED, positive, values)
        return Found(
            {row.number: row.rank for row in rows}, len(candidates), len(places) > CANDIDATES
        )

    async def matches(
        self, connection: AsyncConnection, request: Request, runs: Mapping[int, Texts]
    ) -> Mapping[int, Sequence[Sequence[Span]]]:
        words = {number: [_words(text[:CHARS]) for text in texts] for number, texts in runs.items()}
        stems = {}
        if request.is_stemmed:
            said = {word for texts in words.values() for text in texts for word, _ in text}
            stems = await _stems(connection, request.query.wanted, said)
        terms = [_stemmed(term, stems) for term in request.query.wanted]
        return {
            number: [_spans(text, terms, stems) for text in texts]
            for number, texts in words.items()
        }


async def _newest(connection: AsyncConnection, request: Request) -> list[Place]:
    """Return where the newest runs that match are, one more than are ranked."""
    newest = await connection.scalar(_NEWEST)
    last = (newest or 0) >> _BLOCK_BITS
    blocks = _FIRST_BLOCKS
    while True:
        is_all = blocks > min(last, _MOST_BLOCKS)
        keys = [f"{last - back} {request.owner}" for back in range(blocks)]
        values = {"keys": [f"o{request.owner}"] if is_all else keys}
        rows = await _execute(connection, _CANDIDATES, request, values)
        places = [row.place for row in rows]
        if is_all or len(places) > CANDIDATES:
            return places
        blocks = max(blocks + 1, int(_MARGIN * blocks * CANDIDATES / max(len(places), 1)))


async def _execute(
    connection: AsyncConnection, sql: str, request: Request, values: Mapping[str, Any]
) -> sa.CursorResult[Any]:
    index, config = ("run_stems", "search_en") if request.is_stemmed else ("run_words", "simple")
    statement = sa.text(sql.format(index=index, config=config))
    return await connection.execute(statement, {"query": websearch(request.query), **values})


async def _stems(
    connection: AsyncConnection, terms: Iterable[Term], said: Iterable[str]
) -> dict[str, str]:
    """Return the stems of the words in `terms`, and of those said that may share one."""
    asked = {word for term in terms for word in term}
    beginnings = {word[:2] for word in asked}
    words = {*said} - asked
    alike = {word for word in words if word[:2] in beginnings}
    if not alike:
        return {}
    # As in the index: words with a digit have no stem.
    plain = [word for word in asked | alike if word.isalpha()]
    return {row.word: row.stem for row in await connection.execute(_STEMS, {"words": plain})}


def _words(text: str) -> list[tuple[str, Span]]:
    return [(fold(word[0]), word.span()) for word in WORD.finditer(text)]


def _stemmed(term: Term, stems: Mapping[str, str]) -> Term:
    return tuple(stems.get(word, word) for word in term)


def _spans(
    words: Sequence[tuple[str, Span]], terms: Iterable[Term], stems: Mapping[str, str]
) -> list[Span]:
    """Return where `terms` are among `words`."""
    by_first: dict[str, list[Term]] = {}
    for term in sorted(terms, key=len, reverse=True):  # of two at one place, the longer
        by_first.setdefault(term[0], []).append(term)
    spans, after = [], 0
    for place, (word, (start, _)) in enumerate(words):
        for term in by_first.get(stems.get(word, word), ()):
            these = words[place : place + len(term)]
            if place >= after and _stemmed(tuple(each for each, _ in these), stems) == term:
                spans.append((start, these[-1][1][1]))
                after = place + len(term)
    return spans
