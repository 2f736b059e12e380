"""Search in texts of scripts without spaces between words, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.search.excerpt import MARK, UNMARK
from service.store.search.search import Search
from tests._support.runs.store_records import ME, Parts, make_run, make_run_end

GRAVITY = ("请解释重力和引力的区别", "重力是地球对物体的吸引。")
CODE = ("如何使用Python编程？", "先安装Python3，再写print语句。")
TOWER = ("東京タワーはどこにありますか？", "東京都港区にあります。スカイツリーではありません。")
BANGKOK = ("กรุงเทพมหานครอยู่ที่ไหน", "อยู่ในประเทศไทย ใกล้แม่น้ำเจ้าพระยา")
SEOUL = ("서울의 중력은 얼마인가요?", "중력 가속도는 9.8입니다.")
RARE = ("𠮷野家とは", "A chain of restaurants; 吉野家 is the usual spelling.")
LATIN = ("What is gravity?", "A force.")
ALL = (GRAVITY, CODE, TOWER, BANGKOK, SEOUL, RARE, LATIN)


async def store_all(parts: Parts) -> None:
    for number, (question, answer) in enumerate(ALL):
        run = make_run(question, run_id=f"run_{number:04}")
        end = make_run_end(run, answer=answer)
        await parts.journal.write(Batch(openings=[run], endings=[end]))


@pytest.fixture
def search(parts: Parts) -> Search:
    return Search(parts.database)


@pytest.fixture
async def stocked(
    store_kind: str, filled_url: Callable[[str, Callable[[Parts], Awaitable[object]]], str]
) -> AsyncIterator[Search]:
    """A search in ALL, which is stored once for all tests that only read it."""
    database = Database(filled_url(store_kind, store_all))
    yield Search(database)
    await database.close()


@pytest.mark.parametrize("lang", ["en", "simple"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("重力", [GRAVITY]),
        ("力", [GRAVITY]),
        ("别", [GRAVITY]),  # the last character of a run
        ("重力和引力", [GRAVITY]),
        ("重引", []),  # not adjacent
        ("重力引力", []),
        ("引力 重力", [GRAVITY]),
        ('"重力和"', [GRAVITY]),
        ('"重力 引力"', []),
        ("重力 -地球", []),
        ("区 -地球", [TOWER]),
        ("地球 or タワー", [GRAVITY, TOWER]),
        ("python", [CODE]),
        ("使用python", [CODE]),
        ("python编程", [CODE]),
        ('"使用 Python 编程"', [CODE]),
        ("编程python", []),
        ("python3", [CODE]),
        ("タワー", [TOWER]),
        ("東京", [TOWER]),
        ("東京都", [TOWER]),
        ("京都タワー", []),
        ("กรุงเทพ", [BANGKOK]),
        ("ประเทศไทย", [BANGKOK]),
        ("น้ำ", [BANGKOK]),
        ("중력", [SEOUL]),
        ("중력은", [SEOUL]),
        ("𠮷野", [RARE]),
        ("吉野", [RARE]),
        ("gravity", [LATIN]),
    ],
)
async def test_words_are_found_inside_a_run_of_characters(
    stocked: Search, query: str, lang: str, expected: list[tuple[str, str]]
) -> None:
    page = await stocked.find(ME, query, lang)
    assert sorted(hit.run.question for hit in page.items) == sorted(
        question for question, _ in expected
    )
    assert page.total == len(expected)
    for hit in page.items:
        assert MARK in hit.snippet


@pytest.mark.parametrize(
    ("query", "snippet"),
    [
        ("重力", f"请解释{MARK}重力{UNMARK}和引力的区别"),
        ("重力 区别", f"请解释{MARK}重力{UNMARK}和引力的{MARK}区别{UNMARK}"),
        ("使用python", f"如何{MARK}使用Python{UNMARK}编程？"),
        ("编程 python", f"如何使用{MARK}Python{UNMARK}{MARK}编程{UNMARK}？"),
        ("ไทย", f"อยู่ในประเทศ{MARK}ไทย{UNMARK} ใกล้แม่น้ำเจ้าพระยา"),
    ],
)
async def test_a_snippet_marks_the_characters_of_the_query(
    stocked: Search, query: str, snippet: str
) -> None:
    [hit] = (await stocked.find(ME, query)).items
    assert hit.snippet == snippet


async def test_a_match_in_the_question_ranks_above_one_in_the_answer(
    parts: Parts, search: Search
) -> None:
    for question, answer in (("大きい動物は？", "鯨です。"), ("鯨について", "大きいです。")):
        run = make_run(question)
        await parts.journal.write(Batch(openings=[run], endings=[make_run_end(run, answer=answer)]))
    page = await search.find(ME, "鯨")
    assert [hit.run.question for hit in page.items] == ["鯨について", "大きい動物は？"]
    assert page.items[0].rank > page.items[1].rank


async def test_the_middle_of_a_long_text_is_found(parts: Parts, search: Search) -> None:
    filler = "".join(chr(0x4E00 + number % 9_000) for number in range(20_000))
    run = make_run("長い文章", run_id="run_long")
    answer = f"{filler[:15_000]}量子コンピュータ{filler[15_000:]}"
    await parts.journal.write(Batch(openings=[run], endings=[make_run_end(run, answer=answer)]))
    for query in ("量子コンピュータ", "子コ", '"量子コンピュータ"'):
        page = await search.find(ME, query)
        assert [hit.run.id for hit in page.items] == ["run_long"]
        assert f"{MARK}{query.strip(chr(34))}{UNMARK}" in page.items[0].snippet


async def test_many_different_characters_are_stored(parts: Parts, search: Search) -> None:
    """PostgreSQL refuses a row with more than 1 MB of words."""
    text = "".join(chr(0x20000 + (number * 7919) % 40_000) for number in range(60_000)) + " ".join(
        f"w{number}" for number in range(9_000)
    )
    run = make_run(text, run_id="run_many")
    await parts.journal.write(Batch(openings=[run], endings=[make_run_end(run, answer=text)]))
    page = await search.find(ME, text[:2])
    assert [hit.run.id for hit in page.items] == ["run_many"]
