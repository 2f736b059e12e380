"""Both databases find the same runs for the same queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import RequestError
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.records import NewRun
from service.store.scope import ALL_OWNERS
from service.store.search.excerpt import MARK, UNMARK
from service.store.search.search import LANGUAGES, Search
from tests._support.runs.hostile_queries import HOSTILE
from tests._support.runs.store_records import ME, OTHER_OWNER, Parts, make_run, make_run_end

SPACE = ("What keeps satellites in orbit?", "Gravity pulls them; their speed keeps them falling.")
CATS = ("Do cats dream?", "Cats dream of hunting, researchers excerpt. A sleeping cat's paws run.")
DOGS = ("Do dogs dream?", "A dog runs in its sleep: it dreams of running.")
CITY = ("Where is York?", "York is in England; New York is a city in America.")
FOOD = ("Qu'est-ce que la crème brûlée ?", "A French dessert. Also: naïve, café, straße, Ελλάδα.")
CODE = ("How do I call it?", "Use snake_case_name(x), or see https://example.com/docs/v2.html#top.")
ALL = (SPACE, CATS, DOGS, CITY, FOOD, CODE)


@pytest.fixture
def search(parts: Parts) -> Search:
    return Search(parts.database)


async def store_exchanges(parts: Parts, *exchanges: tuple[str, str], **fields: Any) -> list[NewRun]:
    """Store runs with these questions and answers, newest last."""
    openings = [
        make_run(question, run_id=f"run_{number:04}", **fields)
        for number, (question, _) in enumerate(exchanges)
    ]
    answers = [answer for _, answer in exchanges]
    endings = [
        make_run_end(run, answer=answer) for run, answer in zip(openings, answers, strict=True)
    ]
    for run, end in zip(openings, endings, strict=True):
        await parts.journal.write(Batch(openings=[run], endings=[end]))
    return openings


async def store_all(parts: Parts) -> None:
    await store_exchanges(parts, *ALL)


@pytest.fixture
async def stocked(
    store_kind: str, filled_url: Callable[[str, Callable[[Parts], Awaitable[object]]], str]
) -> AsyncIterator[Search]:
    """A search in ALL, which is stored once for all tests that only read it."""
    database = Database(filled_url(store_kind, store_all))
    yield Search(database)
    await database.close()


async def search_questions(
    search: Search, query: str, lang: str = "en", owner: str = ME
) -> list[str]:
    """Return the questions of the found runs, best first."""
    page = await search.find(owner, query, lang)
    assert page.total == len(page.items)
    return [hit.run.question for hit in page.items]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("gravity", [SPACE]),
        ("GRAVITY", [SPACE]),
        ("gravity speed", [SPACE]),
        ("gravity cats", []),
        ("satellites falling", [SPACE]),  # one in the question, one in the answer
        ("nothing-like-this", []),
        ("dream", [CATS, DOGS]),
        ("dream -cats", [DOGS]),
        ("dream -hunting", [DOGS]),  # in the answer only
        ('"new york"', [CITY]),
        ('"york new"', []),
        ('york -"new york"', []),
        ("gravity or hunting", [SPACE, CATS]),
        ("gravity OR hunting -cats", [SPACE]),
        ('"orbit gravity"', []),  # no phrase spans question and answer
        ("creme", [FOOD]),
        ("Crème Brûlée", [FOOD]),
        ("CAFÉ", [FOOD]),
        ("naive", [FOOD]),
        ("straße", [FOOD]),
        ("ελλάδα", [FOOD]),
        ("snake_case_name", [CODE]),
        ("case", [CODE]),
        ("example.com", [CODE]),
        ("docs", [CODE]),
        ("v2", [CODE]),
        ("qu'est-ce", [FOOD]),
    ],
)
async def test_words_phrases_negations_and_alternatives(
    stocked: Search, query: str, expected: list[tuple[str, str]]
) -> None:
    assert sorted(await search_questions(stocked, query)) == sorted(
        question for question, _ in expected
    )


@pytest.mark.parametrize(
    ("query", "lang", "expected"),
    [
        ("dreams", "en", [CATS, DOGS]),
        ("dreaming", "en", [CATS, DOGS]),
        ("satellite", "en", [SPACE]),
        ("running", "en", [CATS, DOGS]),
        ("dreams", "simple", [DOGS]),
        ("running", "simple", [DOGS]),
        ("dreaming", "simple", []),
        ("satellite", "simple", []),
        ("satellites", "simple", [SPACE]),
        ("creme", "fr", [FOOD]),
        ("satellite", "fr", []),
        ("what keeps", "en", [SPACE]),
        ("the gravity", "en", [SPACE]),
        ("the gravity", "simple", []),
        ("what", "simple", [SPACE]),
        ('"pulls them"', "en", [SPACE]),
        ('"in its sleep"', "en", [DOGS]),
        ('"in her sleep"', "en", []),
    ],
)
async def test_only_english_words_are_stemmed(
    stocked: Search, query: str, lang: str, expected: list[tuple[str, str]]
) -> None:
    wanted = sorted(question for question, _ in expected)
    assert sorted(await search_questions(stocked, query, lang)) == wanted


@pytest.mark.parametrize("lang", ["en", "simple"])
async def test_no_query_is_an_error(stocked: Search, lang: str) -> None:
    for query in HOSTILE:
        page = await stocked.find(ME, query, lang)
        assert page.total <= len(ALL), query


@pytest.mark.parametrize("query", ["", "   ", "-cats", "the", "what is the", "?!", "\N{ROCKET}"])
async def test_a_query_without_a_wanted_word_finds_nothing(stocked: Search, query: str) -> None:
    assert await search_questions(stocked, query) == []


async def test_an_unknown_language_is_refused_with_a_list_of_the_known_ones(
    stocked: Search,
) -> None:
    with pytest.raises(RequestError, match="simple, en, da, de") as refused:
        await stocked.find(ME, "cats", "tlh")
    assert refused.value.code == "bad_request"
    assert "fr" in LANGUAGES


async def test_a_match_in_the_question_ranks_above_one_in_the_answer(
    parts: Parts, search: Search
) -> None:
    await store_exchanges(parts, ("About whales.", "Big."), ("What is big?", "Some say whales."))
    assert await search_questions(search, "whale") == ["About whales.", "What is big?"]
    assert await search_questions(search, "whales", "simple") == ["About whales.", "What is big?"]
    ranks = [hit.rank for hit in (await search.find(ME, "whale")).items]
    assert ranks[0] > ranks[1]


async def test_among_equals_the_newest_is_first(parts: Parts, search: Search) -> None:
    await store_exchanges(parts, *[("Say it aloud.", "Aloud.")] * 3)
    page = await search.find(ME, "aloud")
    assert [hit.run.id for hit in page.items] == ["run_0002", "run_0001", "run_0000"]


async def test_pages_are_consecutive_and_have_the_total(parts: Parts, search: Search) -> None:
    await store_exchanges(parts, *[("Say it.", "It.")] * 7)
    pages = [await search.find(ME, "say", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [page.total for page in pages] == [7] * 4
    assert not any(page.is_capped for page in pages)
    ids = [hit.run.id for page in pages for hit in page.items]
    assert ids == [f"run_{number:04}" for number in range(6, -1, -1)]


async def test_runs_of_another_owner_are_not_found(stocked: Search) -> None:
    for owner in (OTHER_OWNER, "m", "me ", "ME", "me 0", "o", "", "*", '"', "o6d650"):
        assert await search_questions(stocked, "gravity", owner=owner) == []
        assert await search_questions(stocked, "gravity or me", owner=owner) == []


async def test_owners_may_have_any_name(parts: Parts, search: Search) -> None:
    names = ("me", "me 0", "0 me", 'a"b', "Ünïcode", "user:1", "running", "runs")
    for number, name in enumerate(names):
        run = make_run(f"Hello from number{number}.", owner=name)
        await parts.journal.write(Batch(openings=[run], endings=[make_run_end(run)]))
    for number, name in enumerate(names):
        assert await search_questions(search, "hello", owner=name) == [
            f"Hello from number{number}."
        ]
        assert await search_questions(search, "hello", "simple", owner=name) == [
            f"Hello from number{number}."
        ]


async def test_a_run_is_found_only_after_it_has_ended(parts: Parts, search: Search) -> None:
    run = await parts.create_run("Is there life on Mars?")
    assert await search_questions(search, "mars") == []
    await parts.journal.write(
        Batch(endings=[make_run_end(run, answer="Nobody knows.", state="failed")])
    )
    assert await search_questions(search, "mars nobody") == ["Is there life on Mars?"]
    await parts.journal.write(
        Batch(endings=[make_run_end(run, answer="Nobody knows.", state="failed")])
    )
    assert await search_questions(search, "mars nobody") == ["Is there life on Mars?"]


async def test_a_retried_run_is_no_longer_found(parts: Parts, search: Search) -> None:
    [first] = await store_exchanges(parts, ("Is there life on Mars?", "Some."))
    again = replace(make_run("Is there life on Mars?"), retry_of=first.run_id)
    await parts.journal.write(Batch(openings=[again]))
    assert await search_questions(search, "mars") == []
    await parts.journal.write(Batch(endings=[make_run_end(again, answer="Plenty.")]))
    assert await search_questions(search, "plenty") == ["Is there life on Mars?"]
    assert await search_questions(search, "some life", "simple") == []


async def test_a_deleted_conversation_is_no_longer_found(parts: Parts, search: Search) -> None:
    runs = await store_exchanges(parts, *ALL)
    assert await Conversations(parts.database).delete(ME, runs[0].ask.conversation_id)
    assert await search_questions(search, "gravity") == []
    assert len(await search_questions(search, "dream")) == 2


async def test_only_the_newest_thousand_are_ranked_and_counted(
    parts: Parts, search: Search
) -> None:
    runs = [make_run(f"Question {number}.", run_id=f"run_{number:04}") for number in range(1_050)]
    for some in (runs[:500], runs[500:]):
        endings = [make_run_end(run, answer="The usual.") for run in some]
        await parts.journal.write(Batch(openings=some, endings=endings))
    page = await search.find(ME, "usual")
    assert page.total == 1_000
    assert page.is_capped
    assert page.items[0].run.id == "run_1049"
    last = await search.find(ME, "usual", limit=10, offset=990)
    assert last.items[-1].run.id == "run_0050"


async def test_few_matches_among_many_of_another_owner_are_ranked(
    parts: Parts, search: Search
) -> None:
    best, worst = ("Comets?", "Comets."), ("Tell me.", "Long ago many people saw comets.")
    mine = [make_run(question, run_id=f"run_{question}") for question, _ in (best, worst)]
    others = [make_run("Comets?", owner=OTHER_OWNER) for _ in range(50)]
    openings = [mine[0], *others, mine[1]]
    answers = [best[1], *["Comets."] * len(others), worst[1]]
    endings = [make_run_end(run, answer=text) for run, text in zip(openings, answers, strict=True)]
    await parts.journal.write(Batch(openings=openings, endings=endings))
    assert await search_questions(search, "comets") == [best[0], worst[0]]


@pytest.mark.parametrize("gap", [1_500, 5_000, 100_000, 1_000_000])
async def test_old_runs_are_found_behind_many_newer_ones(
    parts: Parts, search: Search, gap: int
) -> None:
    for number in range(5):
        run = make_run(f"Needle {number}.")
        await parts.journal.write(Batch(openings=[run], endings=[make_run_end(run)]))
        if parts.database.dialect == "postgresql":  # there, runs are searched block by block
            await parts.database.write(partial(_skip_numbers, (number + 1) * gap))
    assert len(await search_questions(search, "needle")) == 5


async def _skip_numbers(to: int, connection: AsyncConnection) -> None:
    await connection.exec_driver_sql(
        f"SELECT setval(pg_get_serial_sequence('runs', 'number'), {to})"
    )


# --- snippets ---


async def search_snippet(search: Search, query: str, lang: str = "en") -> str:
    [hit] = (await search.find(ME, query, lang)).items
    return hit.snippet


def list_matches(text: str) -> list[str]:
    return [piece.partition(UNMARK)[0] for piece in text.split(MARK)[1:]]


@pytest.mark.parametrize(
    ("query", "lang", "matches"),
    [
        ("gravity", "en", ["Gravity"]),
        ("dreams hunting", "en", ["dream", "hunting"]),
        ('"new york"', "en", ["New York"]),
        ("york -dog", "en", ["York"]),
        ("creme", "fr", ["crème"]),
        ("gravity or cafe", "simple", ["Gravity"]),
        ("snake_case", "en", ["snake_case"]),
    ],
)
async def test_a_snippet_marks_the_matches(
    stocked: Search, query: str, lang: str, matches: list[str]
) -> None:
    page = await stocked.find(ME, query, lang)
    snippets = [list_matches(hit.snippet) for hit in page.items]
    assert matches in snippets


async def test_a_snippet_is_from_the_place_with_the_most_matches(
    parts: Parts, search: Search
) -> None:
    hay = "hay " * 500
    await store_exchanges(parts, ("Question.", f"{hay}needle {hay}needle thread {hay}"))
    excerpt = await search_snippet(search, "needle thread")
    assert f"hay {MARK}needle{UNMARK} {MARK}thread{UNMARK} hay" in excerpt
    assert excerpt.startswith("… hay")
    assert excerpt.endswith("hay …")
    assert len(excerpt.split()) <= 40


async def test_a_snippet_contains_no_control_characters_of_the_text(
    parts: Parts, search: Search
) -> None:
    await store_exchanges(
        parts, ("Question.", f"One {MARK}fake{UNMARK}\ttwo\n\x1b[31m needle <b>three")
    )
    assert (
        await search_snippet(search, "needle") == f"One fake two [31m {MARK}needle{UNMARK} <b>three"
    )


# --- large and strange texts ---


@pytest.mark.parametrize(
    "text",
    [
        "word " * 200_000,
        " ".join(f"w{number}" for number in range(150_000)),
        "x" * 1_000_000,
        "日本語" * 200_000,
        "é" * 500_000,
        "\N{ROCKET}" * 250_000,
        "a\N{COMBINING ACUTE ACCENT}" * 300_000,
        "\n" * 1_000_000,
    ],
    ids=["one word", "many words", "a long word", "CJK", "accents", "emoji", "combining", "blank"],
)
async def test_a_text_of_a_megabyte_is_stored_and_found_by_its_first_words(
    parts: Parts, search: Search, text: str
) -> None:
    await store_exchanges(parts, ("A large text", f"Prologue. {text} epilogue."))
    assert await search_questions(search, "prologue") == ["A large text"]
    assert await search_questions(search, "epilogue") == []
    assert MARK in await search_snippet(search, "prologue")


async def test_characters_that_postgresql_refuses_are_replaced(
    parts: Parts, search: Search
) -> None:
    await store_exchanges(parts, ("A \0 question", "An \ud800 answer"))
    assert await search_questions(search, "answer") == ["A \ufffd question"]
    assert await search_questions(search, "question\0 \ud800answer") == ["A \ufffd question"]


# --- readers and writers ---


async def test_writers_do_not_wait_for_a_search(parts: Parts, search: Search) -> None:
    await store_exchanges(parts, *ALL)
    reading, written = asyncio.Event(), asyncio.Event()

    async def read(connection: Any) -> int:
        before = len((await connection.exec_driver_sql("SELECT id FROM runs")).all())
        reading.set()
        await written.wait()
        after = len((await connection.exec_driver_sql("SELECT id FROM runs")).all())
        return after - before

    reader = asyncio.create_task(parts.database.read(read, access=ALL_OWNERS))
    await reading.wait()
    await parts.finish_run("Written meanwhile.", question="A new one")
    assert await search_questions(search, "meanwhile") == ["A new one"]
    written.set()
    assert await reader == 0
