"""Snippets of search results: an excerpt of each run's texts with the matches marked.

Texts are read and searched a few at a time, only their indexed part, and in a thread.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.schema import runs
from service.store.scope import Scope
from service.store.search.excerpt import make_excerpt
from service.store.search.index import SearchIndex, SearchRequest
from service.store.search.query import Query
from service.store.search.spans import (
    Forms,
    compile_terms,
    find_similar_words,
    find_spans,
    fold,
)
from service.store.search.words import MAX_INDEXED_CHARS, is_unspaced

_RUNS_AT_ONCE = 10
_MAX_READ_CHARS = MAX_INDEXED_CHARS + 300  # more than are searched, for the end of the excerpt
_COLUMNS = (
    runs.c.number,
    runs.c.owner,
    sa.func.substr(runs.c.question, 1, _MAX_READ_CHARS).label("question"),
    sa.func.substr(runs.c.answer, 1, _MAX_READ_CHARS).label("answer"),
)

Texts = tuple[str, str]  # a question and its answer


@dataclass(frozen=True, slots=True)
class _Excerptible:
    """The texts of some runs by number, folded too, and the words that may match in them."""

    texts: Mapping[int, Texts]
    folded: Mapping[int, Texts]
    similar: Collection[str]


async def make_snippets(
    connection: AsyncConnection, index: SearchIndex, request: SearchRequest, numbers: Sequence[int]
) -> dict[int, str]:
    """Return the snippet of each run, by its number."""
    words = _list_words(request.query) if request.is_stemmed else set()
    snippets: dict[int, str] = {}
    for start in range(0, len(numbers), _RUNS_AT_ONCE):
        some = numbers[start : start + _RUNS_AT_ONCE]
        rows = await connection.execute(Scope(request.owner).select_keys(_COLUMNS, some))
        part = await asyncio.to_thread(_prepare, rows.all(), words)
        similar = part.similar
        forms = await index.find_forms(connection, words, similar) if similar else {}
        snippets |= await asyncio.to_thread(_make_excerpts, request.query, part, forms)
    return snippets


def _list_words(query: Query) -> set[str]:
    """Return the wanted words that can have a stem."""
    return {word for term in query.wanted for word in term if not is_unspaced(word)}


def _prepare(rows: Sequence[Row[Any]], words: Collection[str]) -> _Excerptible:
    texts = {row.number: (_compose(row.question), _compose(row.answer)) for row in rows}
    folded = {
        number: (fold(question), fold(answer)) for number, (question, answer) in texts.items()
    }
    all_folded = (text for both in folded.values() for text in both)
    return _Excerptible(texts, folded, find_similar_words(all_folded, words) if words else ())


def _compose(text: str) -> str:
    """Return `text` with each letter and its accents as one character where possible."""
    return unicodedata.normalize("NFC", text)


def _make_excerpts(query: Query, part: _Excerptible, forms: Forms) -> dict[int, str]:
    pattern = compile_terms(query.wanted, forms)
    return {
        number: make_excerpt(texts, [find_spans(text, pattern) for text in part.folded[number]])
        for number, texts in part.texts.items()
    }
