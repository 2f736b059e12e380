"""What both databases' search indexes have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.search.excerpt import Span
from service.store.search.query import Query

MAX_RANKED = 1_000  # the newest matches, which are ranked; there is no telling of older ones
MAX_INDEXED_CHARS = 50_000  # of a question and of an answer are in the index
QUESTION_WEIGHT, ANSWER_WEIGHT = 1.0, 0.3

Texts = tuple[str, str]  # a question and its answer


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search: `is_stemmed` for English, else words must be as they are."""

    owner: str
    query: Query
    is_stemmed: bool


@dataclass(frozen=True, slots=True)
class RankedRuns:
    """The best of `total` runs by their numbers, each with its rank; higher is better."""

    ranks: Mapping[int, float]
    total: int
    is_capped: bool


class SearchIndex(Protocol):
    """One database's way to search."""

    async def find(
        self, connection: AsyncConnection, request: SearchRequest, limit: int, offset: int
    ) -> RankedRuns:
        """Return a page of the matches, best first and the newest of equals."""
        ...

    async def matches(
        self, connection: AsyncConnection, request: SearchRequest, runs: Mapping[int, Texts]
    ) -> Mapping[int, Sequence[Sequence[Span]]]:
        """Return where the runs' texts match, by the runs' numbers."""
        ...
