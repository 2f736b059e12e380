"""Search queries: their meaning, and their translation for both databases."""

from __future__ import annotations

import sqlite3

import asyncpg  # type: ignore[import-untyped]  # it has no stubs
import pytest

from service.store.search.query import (
    ENGLISH_STOP_WORDS,
    MAX_TERMS,
    Query,
    normalize,
    parse_query,
    to_fts5,
    to_tsquery,
)
from tests._support.runs.hostile_queries import HOSTILE
from tests._support.servers.databases import Postgres


def parse_terms(text: str) -> list[tuple[list[str], list[str]]]:
    """Return the wanted and the unwanted terms of each alternative, phrases as texts."""
    query = parse_query(text)
    return [
        ([" ".join(term) for term in each.wanted], [" ".join(term) for term in each.unwanted])
        for each in (query.alternatives if query else ())
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("gravity", [(["gravity"], [])]),
        ("Gravity  WELLS", [(["gravity", "wells"], [])]),
        ('"new york" city', [(["new york", "city"], [])]),
        ("-york new", [(["new"], ["york"])]),
        ('new -"york city"', [(["new"], ["york city"])]),
        ("cats or dogs", [(["cats"], []), (["dogs"], [])]),
        ("cats OR dogs Or fish", [(["cats"], []), (["dogs"], []), (["fish"], [])]),
        ("big cats or small dogs -wet", [(["big", "cats"], []), (["small", "dogs"], ["wet"])]),
        ('"or" nothing', [(["or", "nothing"], [])]),
        ("well-known", [(["well known"], [])]),
        ("don't", [(["don t"], [])]),
        ("example.com/path", [(["example com path"], [])]),
        ("snake_case", [(["snake case"], [])]),
        ("C++", [(["c"], [])]),
        ("Crème BRÛLÉE", [(["creme", "brulee"], [])]),
        ('"not closed', [(["not closed"], [])]),
        ("a or -b", [(["a"], [])]),
        ("or a or or b or", [(["a"], []), (["b"], [])]),
        ("--a b", [(["b"], ["a"])]),
    ],
)
def test_a_query_is_parsed_as_by_search_engines(
    text: str, meant: list[tuple[list[str], list[str]]]
) -> None:
    assert parse_terms(text) == meant


@pytest.mark.parametrize("text", ["", " ", "-x", "-x -y", "or", '""', "*", "\N{ROCKET}", "- -"])
def test_a_query_without_a_wanted_word_is_none(text: str) -> None:
    assert parse_query(text) is None


def test_stop_words_are_ignored_outside_of_phrases() -> None:
    assert parse_query("the", ENGLISH_STOP_WORDS) is None
    assert parse_query("what is the", ENGLISH_STOP_WORDS) is None
    assert parse_query("the cat", ENGLISH_STOP_WORDS) == parse_query("cat")
    assert parse_query("cat -the", ENGLISH_STOP_WORDS) == parse_query("cat")
    assert parse_query('"the who"', ENGLISH_STOP_WORDS) == parse_query('"the who"')


def test_a_query_is_limited_to_fifty_words() -> None:
    query = parse_query(" ".join(f"w{number}" for number in range(300)))
    assert query is not None
    assert len(query.wanted) == MAX_TERMS


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Crème", "creme"),
        ("ÀÉÎÕÜ", "aeiou"),
        ("e\N{COMBINING ACUTE ACCENT}", "e"),
        ("straße", "straße"),
        ("й", "й"),
        ("日本", "日本"),
    ],
)
def test_only_latin_letters_lose_their_accents(text: str, folded: str) -> None:
    assert normalize(text) == folded


@pytest.fixture(scope="module")
def fts() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text)")
    return connection


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_fts5_accepts_every_query(fts: sqlite3.Connection, text: str) -> None:
    query = parse_query(text)
    if query is not None:
        fts.execute("SELECT * FROM texts WHERE texts MATCH ?", (to_fts5(query),)).fetchall()


_AGREED = (
    "gravity",
    "big cats",
    '"new york" city',
    "new -york",
    'new -"york city"',
    "cats or dogs",
    "big cats OR small dogs -wet",
    "-york new",
)


async def test_postgresql_parses_plain_queries_alike(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url())
    try:
        for text in _AGREED:
            query = parse_query(text)
            assert isinstance(query, Query)
            theirs, ours = await connection.fetchrow(
                "SELECT websearch_to_tsquery('simple', $1)::text, to_tsquery('simple', $2)::text",
                text,
                to_tsquery(query),
            )
            # The parser puts wanted terms first.
            assert sorted(theirs.split(" ")) == sorted(ours.split(" ")), text
    finally:
        await connection.close()
