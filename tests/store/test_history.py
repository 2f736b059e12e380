"""Lists of an owner's runs, and the counts that triggers maintain."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.conversations import Conversations
from service.store.history import History
from service.store.journal.batch import Batch
from service.store.migrate import migrate
from service.store.records import NewRun
from service.store.revisions import list_revisions
from service.store.scope import ALL_OWNERS
from service.store.search.search import Search
from tests._support.runs.store_records import ME, OTHER_OWNER, Parts, make_run, make_run_end


@pytest.fixture
def history(parts: Parts) -> History:
    return History(parts.database)


async def store_runs(parts: Parts, count: int, owner: str = ME) -> list[NewRun]:
    """Store ended runs, newest last."""
    runs = [
        make_run(f"Question {number}?", run_id=f"run_{owner}_{number:03}", owner=owner)
        for number in range(count)
    ]
    await parts.journal.write(Batch(openings=runs, endings=[make_run_end(run) for run in runs]))
    return runs


async def list_ids(
    history: History, limit: int, offset: int, before: str | None = None
) -> list[str]:
    page = await history.list_page(ME, limit, offset, before)
    return [run.id for run in page.items]


async def test_a_page_has_the_newest_runs_first(parts: Parts, history: History) -> None:
    runs = await store_runs(parts, 3)
    page = await history.list_page(ME, 10, 0)
    assert [run.id for run in page.items] == [run.run_id for run in reversed(runs)]
    assert page.total == 3
    newest = page.items[0]
    assert (newest.question, newest.answer, newest.state) == (
        "Question 2?",
        "An answer.",
        "completed",
    )
    assert await parts.runs.get(ME, newest.id) == newest


async def test_all_pages_together_are_the_complete_list(parts: Parts, history: History) -> None:
    runs = await store_runs(parts, 11)
    all_ids = [run.run_id for run in reversed(runs)]
    for limit in (1, 3, 4, 11, 20):
        for offset in range(14):
            assert await list_ids(history, limit, offset) == all_ids[offset : offset + limit]


async def test_a_page_can_start_after_a_run(parts: Parts, history: History) -> None:
    runs = await store_runs(parts, 7)
    all_ids = [run.run_id for run in reversed(runs)]
    assert await list_ids(history, 3, 0, before=all_ids[2]) == all_ids[3:6]
    assert await list_ids(history, 3, 1, before=all_ids[2]) == all_ids[4:7]
    assert await list_ids(history, 3, 0, before=all_ids[-1]) == []
    assert (await history.list_page(ME, 3, 0, before=all_ids[2])).total == 7


async def test_the_history_includes_running_runs(parts: Parts, history: History) -> None:
    run = await parts.create_run("Still thinking?")
    page = await history.list_page(ME, 10, 0)
    assert [(each.id, each.state) for each in page.items] == [(run.run_id, "running")]


async def test_a_retried_run_leaves_the_list_but_can_still_be_read(
    parts: Parts, history: History
) -> None:
    first = await parts.finish_run()
    again = replace(make_run(), retry_of=first.run_id)
    await parts.journal.write(Batch(openings=[again], endings=[make_run_end(again)]))
    page = await history.list_page(ME, 10, 0)
    assert [run.id for run in page.items] == [again.run_id]
    assert page.total == 1
    superseded = await parts.runs.get(ME, first.run_id)
    assert superseded is not None
    assert superseded.superseded_by == again.run_id


async def test_another_owner_sees_nothing(parts: Parts, history: History) -> None:
    [run] = await store_runs(parts, 1)
    assert await parts.runs.get(OTHER_OWNER, run.run_id) is None
    page = await history.list_page(OTHER_OWNER, 10, 0)
    assert (list(page.items), page.total) == ([], 0)
    page = await history.list_page(OTHER_OWNER, 10, 0, before="z")
    assert (list(page.items), page.total) == ([], 0)


# --- the counts ---


async def _counts_and_rows(connection: AsyncConnection) -> list[list[tuple[object, ...]]]:
    counted = """
        SELECT owner, sum(runs), sum(conversations) FROM counts
        GROUP BY owner HAVING sum(runs) > 0 OR sum(conversations) > 0
        ORDER BY owner
    """
    existing = """
        SELECT
            owner,
            (SELECT count(*) FROM runs WHERE owner = conversations.owner AND superseded_by IS NULL),
            count(*)
        FROM conversations GROUP BY owner ORDER BY owner
    """
    return [
        [tuple(row) for row in await connection.execute(sa.text(sql))]
        for sql in (counted, existing)
    ]


async def assert_counts_are_right(parts: Parts) -> None:
    counted, existing = await parts.database.read(_counts_and_rows, access=ALL_OWNERS)
    assert counted == existing


async def test_the_counts_follow_every_change_of_the_rows(parts: Parts) -> None:
    mine, theirs = await store_runs(parts, 5), await store_runs(parts, 3, OTHER_OWNER)
    await assert_counts_are_right(parts)
    await parts.journal.write(Batch(openings=mine))  # written a second time
    await assert_counts_are_right(parts)
    again = replace(make_run(), retry_of=mine[0].run_id)
    lost = replace(make_run(), retry_of=mine[0].run_id)
    taken = (await parts.journal.write(Batch(openings=[again, lost]))).conflicts
    assert list(taken) == [lost.run_id]
    await assert_counts_are_right(parts)
    await parts.journal.write(Batch(dropped=[again.run_id]))
    await assert_counts_are_right(parts)
    conversations = Conversations(parts.database)
    assert await conversations.delete(ME, mine[1].ask.conversation_id)
    assert await conversations.delete(OTHER_OWNER, theirs[0].ask.conversation_id)
    assert not await conversations.delete(OTHER_OWNER, mine[2].ask.conversation_id)
    await assert_counts_are_right(parts)
    counted, _ = await parts.database.read(_counts_and_rows, access=ALL_OWNERS)
    assert [row[0] for row in counted] == [ME, OTHER_OWNER]


async def test_deleting_a_superseded_run_does_not_lower_the_count_again(parts: Parts) -> None:
    first = await parts.finish_run()
    again = replace(make_run(conversation=first.ask.conversation_id), retry_of=first.run_id)
    await parts.journal.write(Batch(openings=[again], endings=[make_run_end(again)]))
    await assert_counts_are_right(parts)
    await Conversations(parts.database).delete(ME, first.ask.conversation_id)
    await assert_counts_are_right(parts)
    assert (await History(parts.database).list_page(ME, 1, 0)).total == 0


async def test_the_counts_are_right_after_concurrent_writes(parts: Parts) -> None:
    async def write(number: int) -> None:
        for turn in range(20):
            run = make_run(conversation=f"conv_{number}_{turn % 7}")
            await parts.journal.write(Batch(openings=[run], endings=[make_run_end(run)]))
        await Conversations(parts.database).delete(ME, f"conv_{number}_0")

    await asyncio.gather(*(write(number) for number in range(8)))
    await assert_counts_are_right(parts)


async def test_migrating_down_and_up_counts_and_indexes_existing_rows(
    parts: Parts, ready_url: str
) -> None:
    runs = await store_runs(parts, 4)
    again = replace(make_run(), retry_of=runs[0].run_id)
    await parts.journal.write(Batch(openings=[again]))
    await parts.journal.write(Batch(endings=[make_run_end(again, answer="Changed.")]))
    await migrate(ready_url, "0001")
    assert await migrate(ready_url) == list_revisions()[1:]
    await assert_counts_are_right(parts)
    search = Search(parts.database)
    assert (await search.find(ME, "question answer")).total == 3
    assert (await search.find(ME, "changed", "simple")).total == 1
    await Conversations(parts.database).delete(ME, runs[1].ask.conversation_id)
    await assert_counts_are_right(parts)
    assert (await search.find(ME, "question answer")).total == 2
