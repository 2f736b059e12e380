"""Conversations: lists, turns, titles and complete deletion."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain import Message
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import Conversation
from service.store.schema import metadata
from service.store.scope import ALL_OWNERS
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
def conversations(parts: Parts) -> Conversations:
    return Conversations(parts.database)


async def test_a_conversation_gets_its_title_from_the_first_question(
    parts: Parts, conversations: Conversations
) -> None:
    await parts.create_run("What is gravity?\nIn short.", conversation="conv_a")
    found = await conversations.get(ME, "conv_a")
    assert found is not None
    assert (found.id, found.title) == ("conv_a", "What is gravity?")
    assert found.created_at == found.updated_at == NOW


async def test_an_unknown_conversation_is_none(conversations: Conversations) -> None:
    assert await conversations.get(ME, "conv_unknown") is None
    assert (await conversations.list_turns(ME, "conv_unknown")).items == []
    assert await conversations.list_running_run_ids(ME, "conv_unknown") == []
    assert not await conversations.rename(ME, "conv_unknown", "Title", NOW)
    assert not await conversations.delete(ME, "conv_unknown")


async def test_the_list_is_in_order_of_update_latest_first(
    parts: Parts, conversations: Conversations
) -> None:
    for number in range(7):
        created_at = NOW + timedelta(minutes=number)
        await parts.create_run(conversation=f"conv_{number}", created_at=created_at)
    await conversations.rename(ME, "conv_3", "Renamed", NOW + timedelta(hours=1))
    expected_ids = [f"conv_{number}" for number in (3, 6, 5, 4, 2, 1, 0)]
    for limit in (2, 3, 10):
        for offset in range(9):
            page = await conversations.list_page(ME, limit, offset)
            assert [each.id for each in page.items] == expected_ids[offset : offset + limit]
            assert page.total == 7
    assert (await conversations.list_page(ME, 1, 0)).items[0].title == "Renamed"


async def test_a_conversation_can_be_created_empty(
    parts: Parts, conversations: Conversations
) -> None:
    await conversations.create(ME, "conv_a", "Tides", "user 1", NOW)
    found = await conversations.get(ME, "conv_a")
    assert found == Conversation(
        id="conv_a", title="Tides", created_at=NOW, updated_at=NOW, user_id="user 1"
    )
    assert (await conversations.list_turns(ME, "conv_a")).items == []
    assert (await conversations.list_page(ME, 10, 0)).total == 1
    later = NOW + timedelta(minutes=1)
    await parts.create_run("What is a tide?", conversation="conv_a", created_at=later)
    found = await conversations.get(ME, "conv_a")
    assert found is not None
    assert (found.title, found.user_id, found.updated_at) == ("Tides", "user 1", later)


async def test_a_conversation_created_without_a_title_gets_it_from_the_first_question(
    parts: Parts, conversations: Conversations
) -> None:
    await conversations.create(ME, "conv_a", "", None, NOW)
    for question in ("What is a tide?", "And a comet?"):
        await parts.create_run(question, conversation="conv_a")
        found = await conversations.get(ME, "conv_a")
        assert found is not None
        assert found.title == "What is a tide?"


async def test_an_empty_conversation_stays_when_its_first_question_is_dropped(
    parts: Parts, conversations: Conversations
) -> None:
    await conversations.create(ME, "conv_a", "Tides", None, NOW)
    dropped = await parts.create_run(conversation="conv_a", created_at=NOW + timedelta(minutes=1))
    await parts.journal.write(Batch(dropped=[dropped.run_id]))
    assert await conversations.get(ME, "conv_a") is not None
    assert (await conversations.list_turns(ME, "conv_a")).items == []


async def test_conversations_of_users_are_listed_in_order_of_update_latest_first(
    parts: Parts, conversations: Conversations
) -> None:
    users = ["a", "b", None, "a", None, "b", "a", None]
    for number, user_id in enumerate(users):
        moment = NOW + timedelta(minutes=number)
        await conversations.create(ME, f"conv_{number}", "", user_id, moment)
    await conversations.create(OTHER_OWNER, "conv_x", "", "a", NOW)
    again = NOW + timedelta(hours=1)
    await parts.create_run(conversation="conv_2", created_at=again)
    for wanted, expected_ids in {
        ("a",): [6, 3, 0],
        ("b",): [5, 1],
        (None,): [2, 7, 4],
        ("a", None): [2, 7, 6, 4, 3, 0],
        ("c",): [],
    }.items():
        for limit in (1, 2, 10):
            for offset in range(8):
                found = await conversations.list_for_users(ME, wanted, limit, offset)
                expected = [f"conv_{number}" for number in expected_ids[offset : offset + limit]]
                assert [each.id for each in found] == expected


async def test_turns_are_the_initial_messages_then_questions_and_answers(
    parts: Parts, conversations: Conversations
) -> None:
    brought = (Message("user", "Hello."), Message("assistant", "Hello!"))
    first = await parts.finish_run(
        "It pulls.", run_id="run_1", conversation="conv_a", initial_messages=brought
    )
    failed = make_run("And why?", run_id="run_2", conversation="conv_a")
    await parts.journal.write(
        Batch(
            openings=[failed],
            endings=[make_run_end(failed, state="failed", answer="", error="Sorry.")],
        )
    )
    stopped = make_run("How?", run_id="run_3", conversation="conv_a")
    await parts.journal.write(
        Batch(openings=[stopped], endings=[make_run_end(stopped, state="cancelled", answer="")])
    )
    running = await parts.create_run("When?", run_id="run_4", conversation="conv_a")
    turns = (await conversations.list_turns(ME, "conv_a")).items
    assert [(turn.role, turn.content, turn.run_id, turn.state) for turn in turns] == [
        ("user", "Hello.", None, None),
        ("assistant", "Hello!", None, None),
        ("user", "What?", first.run_id, "completed"),
        ("assistant", "It pulls.", first.run_id, "completed"),
        ("user", "And why?", failed.run_id, "failed"),
        ("assistant", "", failed.run_id, "failed"),
        ("user", "How?", stopped.run_id, "cancelled"),
        ("user", "When?", running.run_id, "running"),
    ]
    assert turns[5].error == "Sorry."
    assert turns[3].created_at == NOW + timedelta(seconds=1)
    assert await conversations.list_running_run_ids(ME, "conv_a") == [running.run_id]


async def test_a_retried_exchange_appears_once(parts: Parts, conversations: Conversations) -> None:
    first = await parts.finish_run("Half an", run_id="run_1", conversation="conv_a")
    again = make_run(run_id="run_2", conversation="conv_a", retry_of=first.run_id)
    await parts.journal.write(
        Batch(openings=[again], endings=[make_run_end(again, answer="Whole.")])
    )
    turns = (await conversations.list_turns(ME, "conv_a")).items
    assert [turn.content for turn in turns] == ["What?", "Whole."]


async def test_a_title_may_be_any_text(parts: Parts, conversations: Conversations) -> None:
    await parts.create_run(conversation="conv_a")
    assert await conversations.rename(ME, "conv_a", "A \0 \ud800 Ünïcode \N{ROCKET}", NOW)
    found = await conversations.get(ME, "conv_a")
    assert found is not None
    assert found.title == "A \ufffd \ufffd Ünïcode \N{ROCKET}"


async def test_another_owner_can_neither_read_nor_change_a_conversation(
    parts: Parts, conversations: Conversations
) -> None:
    await parts.create_run("Mine?", conversation="conv_a")
    assert await conversations.get(OTHER_OWNER, "conv_a") is None
    assert (await conversations.list_page(OTHER_OWNER, 10, 0)).total == 0
    assert await conversations.list_for_users(OTHER_OWNER, [None], 10, 0) == []
    assert (await conversations.list_turns(OTHER_OWNER, "conv_a")).items == []
    assert await conversations.list_running_run_ids(OTHER_OWNER, "conv_a") == []
    assert not await conversations.rename(OTHER_OWNER, "conv_a", "Theirs", NOW)
    assert not await conversations.delete(OTHER_OWNER, "conv_a")
    found = await conversations.get(ME, "conv_a")
    assert found is not None
    assert found.title == "Mine?"


async def test_two_owners_may_have_conversations_with_the_same_id(
    parts: Parts, conversations: Conversations
) -> None:
    await parts.create_run("Mine?", conversation="conv_a")
    await parts.create_run("Theirs?", conversation="conv_a", owner=OTHER_OWNER)
    assert await conversations.delete(ME, "conv_a")
    assert [
        turn.content for turn in (await conversations.list_turns(OTHER_OWNER, "conv_a")).items
    ] == ["Theirs?"]


# --- deleting ---


async def _write_everything(journal: JournalWriter, secret: str) -> None:
    """Store a conversation with `secret` in every text that it can contain."""
    brought = [Message("user", f"{secret} brought")]
    run = make_run(
        f"{secret} question", conversation="conv_gone", initial_messages=brought, key=make_key()
    )
    answer = replace(make_agent_answer(run, text=f"{secret} agent"), error=f"{secret} error")
    events = make_segment(run, 1, 2, f"[{secret}]\n".encode())
    await journal.write(Batch(openings=[run], answers=[answer], segments=[events]))
    await journal.write(Batch(endings=[make_run_end(run, answer=f"{secret} answer")]))


async def _count_rows(database: Database) -> dict[str, int]:
    tables = [each.name for each in metadata.tables.values() if "owner" in each.columns]

    async def work(connection: AsyncConnection) -> dict[str, int]:
        found = {}
        for name in [*tables, "run_stems", "run_words"]:
            found[name] = await connection.scalar(sa.text(f"SELECT count(*) FROM {name}"))
        return found

    return await database.read(work, access=ALL_OWNERS)


async def test_deleting_a_conversation_deletes_all_its_rows(
    parts: Parts, conversations: Conversations
) -> None:
    await _write_everything(parts.journal, "xylophonist")
    assert await conversations.delete(ME, "conv_gone")
    assert not any((await _count_rows(parts.database)).values())
    assert not await conversations.delete(ME, "conv_gone")


@pytest.mark.parametrize("others", [0, 200])
async def test_the_text_of_a_deleted_conversation_is_erased_from_sqlites_files(
    sqlite_ready: str, tmp_path: Path, others: int
) -> None:
    database = Database(sqlite_ready)
    journal, conversations = JournalWriter(database), Conversations(database)
    runs = [make_run(f"xylograph {number}") for number in range(others)]
    ends = [make_run_end(run, answer="xylem and others") for run in runs]
    await journal.write(Batch(openings=runs[: others // 2], endings=ends[: others // 2]))
    await _write_everything(journal, "xylophonist")
    await journal.write(Batch(openings=runs[others // 2 :], endings=ends[others // 2 :]))
    try:
        assert b"phonist" in _read_files(tmp_path)
        assert await conversations.delete(ME, "conv_gone")
        # Without the start, which words of an index can share.
        assert b"phonist" not in _read_files(tmp_path)
    finally:
        await database.close()


def _read_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("service.db*"))
