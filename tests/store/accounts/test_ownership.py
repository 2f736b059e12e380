"""The data of an owner: deleted, and transferred to another owner."""

from __future__ import annotations

import pytest

from service.store.accounts.ownership import (
    TRANSFERRED,
    Ownership,
    StillRunningError,
    TransferredData,
)
from service.store.conversations import Conversations
from service.store.evaluations.cache import EvaluationCache
from service.store.history import History
from service.store.journal.batch import Batch
from service.store.schema import metadata
from service.store.search.search import Search
from service.store.usage.tables import usage_sums
from tests._support.runs.store_records import (
    ME,
    NOW,
    OTHER_OWNER,
    Parts,
    make_agent_answer,
    make_key,
    make_run,
    make_run_end,
    make_segment,
)


@pytest.fixture
def ownership(parts: Parts) -> Ownership:
    return Ownership(parts.database)


async def _write(parts: Parts, owner: str, conversation: str, key: str) -> str:
    """Write a finished run with all its rows, and return its id."""
    run = make_run("About tides", owner=owner, conversation=conversation, key=make_key(key))
    await parts.journal.write(
        Batch(
            openings=[run],
            answers=[make_agent_answer(run)],
            segments=[make_segment(run, 1, 9)],
            endings=[make_run_end(run, answer="The moon.")],
        )
    )
    return run.run_id


def test_every_table_of_an_owner_is_transferred_or_stays_for_a_reason() -> None:
    owned = {name for name, table in metadata.tables.items() if "owner" in table.columns}
    assert owned == {table.name for table in TRANSFERRED} | {usage_sums.name}


async def test_all_rows_have_the_new_owner(parts: Parts, ownership: Ownership) -> None:
    run_id = await _write(parts, ME, "conv_a", "key")
    assert await ownership.transfer(ME, OTHER_OWNER) == TransferredData(1, 1, 0)
    assert await parts.runs.get(ME, run_id) is None
    assert await parts.runs.get(OTHER_OWNER, run_id)
    assert await parts.runs.list_segments(OTHER_OWNER, run_id)
    assert await parts.runs.list_agent_answers(OTHER_OWNER, run_id)
    assert await parts.runs.find_key(OTHER_OWNER, "key", NOW)
    assert await parts.runs.find_key(ME, "key", NOW) is None


async def test_cached_evaluations_move_and_those_of_the_new_owner_count(
    parts: Parts, ownership: Ownership
) -> None:
    cache = EvaluationCache(parts.database)
    mine = await _write(parts, ME, "conv_a", "key-a")
    theirs = await _write(parts, OTHER_OWNER, "conv_b", "key-b")
    await cache.add(ME, "both", mine, NOW)
    await cache.add(ME, "only mine", mine, NOW)
    await cache.add(OTHER_OWNER, "both", theirs, NOW)
    await ownership.transfer(ME, OTHER_OWNER)
    found = await cache.find(OTHER_OWNER, ["both", "only mine"], NOW)
    assert found == {"both": theirs, "only mine": mine}
    assert await cache.find(ME, ["both", "only mine"], NOW) == {}


async def test_lists_counts_and_search_follow_the_owner(parts: Parts, ownership: Ownership) -> None:
    for number in range(3):
        await _write(parts, ME, f"conv_{number}", f"key-{number}")
    await _write(parts, OTHER_OWNER, "conv_theirs", "key-theirs")
    await ownership.transfer(ME, OTHER_OWNER)
    conversations, history = Conversations(parts.database), History(parts.database)
    search = Search(parts.database)
    for owner, count in ((ME, 0), (OTHER_OWNER, 4)):
        listed = await conversations.list_page(owner, 10, 0)
        assert (len(listed.items), listed.total) == (count, count)
        assert (await history.list_page(owner, 10, 0)).total == count
        assert (await search.find(owner, "moon", "en", 10, 0)).total == count
    await conversations.delete(OTHER_OWNER, "conv_1")
    assert (await history.list_page(OTHER_OWNER, 10, 0)).total == 3


async def test_a_conversation_whose_id_is_in_use_receives_another_one(
    parts: Parts, ownership: Ownership
) -> None:
    mine = await _write(parts, ME, "conv_same", "key")
    theirs = await _write(parts, OTHER_OWNER, "conv_same", "key")
    assert await ownership.transfer(ME, OTHER_OWNER) == TransferredData(1, 1, 1)
    moved = await parts.runs.get(OTHER_OWNER, mine)
    assert moved
    assert moved.conversation_id not in ("conv_same", "")
    stayed = await parts.runs.get(OTHER_OWNER, theirs)
    assert stayed
    assert stayed.conversation_id == "conv_same"
    found = await parts.runs.find_key(OTHER_OWNER, "key", NOW)
    assert found
    assert found.run_id == theirs
    turns = await Conversations(parts.database).list_turns(OTHER_OWNER, moved.conversation_id)
    assert [turn.content for turn in turns.items] == ["About tides", "The moon."]


async def test_nothing_is_transferred_while_a_run_is_running(
    parts: Parts, ownership: Ownership
) -> None:
    finished = await _write(parts, ME, "conv_a", "key")
    running = await parts.create_run()
    with pytest.raises(StillRunningError):
        await ownership.transfer(ME, OTHER_OWNER)
    assert await ownership.list_running(ME) == [running.run_id]
    assert await parts.runs.get(ME, finished)


async def test_an_owner_without_data_can_be_transferred(parts: Parts, ownership: Ownership) -> None:
    assert await ownership.transfer(ME, OTHER_OWNER) == TransferredData(0, 0, 0)


async def test_deletion_leaves_nothing_of_the_owner_and_all_of_others(
    parts: Parts, ownership: Ownership
) -> None:
    mine = [await _write(parts, ME, f"conv_{number}", f"k{number}") for number in range(60)]
    theirs = await _write(parts, OTHER_OWNER, "conv_1", "k1")
    await ownership.delete(ME)
    for run_id in (mine[0], mine[-1]):
        assert await parts.runs.get(ME, run_id) is None
    assert (await Conversations(parts.database).list_page(ME, 10, 0)).total == 0
    assert (await Search(parts.database).find(ME, "moon", "en", 10, 0)).total == 0
    assert await parts.runs.get(OTHER_OWNER, theirs)
    assert await parts.runs.find_key(OTHER_OWNER, "k1", NOW)
