"""Overviews of conversations: by id, by the words of their titles, and their runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.conversation import Branch
from service.domain import Message
from service.store.conversations import Conversations
from service.store.journal.batch import Batch
from service.store.lists.outlines import Outlines
from tests._support.runs.store_records import ME, NOW, OTHER_OWNER, Parts, make_run

pytestmark = pytest.mark.parametrize("store_kind", ["sqlite", "postgresql"])


async def _create(parts: Parts, owner: str, **titles: str) -> None:
    for conversation_id, title in titles.items():
        await Conversations(parts.database).create(owner, conversation_id, title, None, NOW)


async def test_titles_are_found_by_parts_of_words_in_any_case(parts: Parts) -> None:
    await _create(parts, ME, a="About the Tides", b="Ebbe und ÜBERFLUT", c="100% of _it_")
    await _create(parts, OTHER_OWNER, d="The tides of another owner")
    outlines = Outlines(parts.database)

    async def find(text: str, limit: int = 10) -> list[str]:
        return [each.id for each in await outlines.find_by_title(ME, text, limit)]

    assert await find("tid") == ["a"]
    assert await find("TIDES about") == ["a"]
    assert await find("tides ebbe") == []
    assert await find("überflut") == ["b"]
    assert await find("%") == ["c"]
    assert await find("_") == ["c"]
    assert await find("\\") == []
    assert await find("  ") == []
    assert await find("t", 1) == ["c"]


async def test_only_the_owners_conversations_are_listed_by_id(parts: Parts) -> None:
    await _create(parts, ME, a="Mine")
    await _create(parts, OTHER_OWNER, b="Not mine")
    found = await Outlines(parts.database).list_by_ids(ME, ["a", "b", "unknown"])
    assert {key: each.title for key, each in found.items()} == {"a": "Mine"}
    assert await Outlines(parts.database).list_by_ids(ME, []) == {}


async def test_the_newest_runs_of_a_conversation_state_what_they_follow(parts: Parts) -> None:
    first = make_run("First " + "x" * 500, conversation="c")
    second = make_run("Second", conversation="c")
    branch = make_run("Branch", conversation="c")
    ask = replace(branch.ask, history=Branch("c", first.run_id))
    branch = replace(branch, ask=ask, preceding=[Message("user", 'with "quotes"')])
    await parts.journal.write(Batch(openings=[first]))
    await parts.journal.write(Batch(openings=[second, branch]))
    await parts.journal.write(Batch(openings=[make_run("Foreign", owner=OTHER_OWNER)]))
    outlines = Outlines(parts.database)
    found = await outlines.list_runs(ME, "c", 10)
    assert [each.id for each in found] == [first.run_id, second.run_id, branch.run_id]
    assert [each.follows for each in found] == ["", "", first.run_id]
    assert found[0].question == ("First " + "x" * 500)[:200]
    assert [each.id for each in await outlines.list_runs(ME, "c", 1)] == [branch.run_id]
    assert await outlines.list_runs(OTHER_OWNER, "c", 10) == []
