"""Full-text search in questions and answers."""

from __future__ import annotations

from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import FieldError, RequestError
from service.store.database import Database
from service.store.lists.long_texts import read_listed_runs
from service.store.lists.pages import Page
from service.store.records import SearchHit
from service.store.schema import runs
from service.store.scope import Scope
from service.store.search.fts5 import Fts5
from service.store.search.index import SearchIndex, SearchRequest
from service.store.search.query import ENGLISH_STOP_WORDS, parse_query
from service.store.search.snippets import make_snippets
from service.store.search.tsvector import Tsvector

# `en` also finds other forms of a word and ignores stop words; all others match exact words.
LANGUAGES = (
    "simple", "en", "da", "de", "es", "fi", "fr", "hu", "it", "nl", "no", "pt", "ro", "ru", "sv",
    "tr",
)  # fmt: skip


class Search:
    """Search in ended runs that are not superseded, in the first 50,000 characters of each text."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._index: SearchIndex = Fts5() if database.dialect == "sqlite" else Tsvector()

    async def find(
        self, owner: str, query: str, lang: str = "en", limit: int = 10, offset: int = 0
    ) -> Page[SearchHit]:
        """Return a page of the matching runs, best first, newest first among equals.

        Only the newest 1,000 matches are ranked and counted. In snippets U+0002 and U+0003
        enclose each match; there are no other control characters.
        Raises RequestError for an unknown language, and StorageUnavailable.
        """
        if lang not in LANGUAGES:
            message = f"The language must be one of {', '.join(LANGUAGES)}."
            raise RequestError("bad_request", message, [FieldError("lang", message)])
        parsed = parse_query(query, ENGLISH_STOP_WORDS if lang == "en" else frozenset())
        if parsed is None:
            return Page((), 0)
        request = SearchRequest(owner, parsed, is_stemmed=lang == "en")
        return await self._database.read_heavy(
            partial(self._find, request, limit, offset), "search", Scope(owner)
        )

    async def _find(
        self, request: SearchRequest, limit: int, offset: int, connection: AsyncConnection
    ) -> Page[SearchHit]:
        found = await self._index.find(connection, request, limit, offset)
        if not found.ranks:
            return Page((), found.total, found.is_capped)
        listed, unread = await read_listed_runs(
            connection, Scope(request.owner), runs.c.number, list(found.ranks)
        )
        snippets = await make_snippets(connection, self._index, request, list(found.ranks))
        hits = [
            SearchHit(run=run, rank=found.ranks[number], snippet=snippets[number])
            for number, run in listed.items()
        ]
        return Page(hits, found.total, found.is_capped, unread)
