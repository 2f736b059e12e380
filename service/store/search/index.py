"""The interface of the search indexes of both databases, with their common limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.search.query import Query
from service.store.search.spans import Forms

MAX_RANKED = 1_000  # only the newest matches are ranked and counted
QUESTION_WEIGHT, ANSWER_WEIGHT = 1.0, 0.3


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search: with English stems (`is_stemmed`), or for exact words."""

    owner: str
    query: Query
    is_stemmed: bool


@dataclass(frozen=True, slots=True)
class RankedRuns:
    """A page of `total` matching runs: ranks by run number; a higher rank is better."""

    ranks: Mapping[int, float]
    total: int
    is_capped: bool


class SearchIndex(Protocol):
    """The search index of one database."""

    async def find(
        self, connection: AsyncConnection, request: SearchRequest, limit: int, offset: int
    ) -> RankedRuns:
        """Return a page of the matches, best first, newest first among equals."""
        ...

    async def find_forms(
        self, connection: AsyncConnection, words: Collection[str], similar: Collection[str]
    ) -> Forms:
        """Return for each of `words` those of the `similar` words that have the same stem."""
        ...
