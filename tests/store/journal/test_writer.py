"""What the journal commits, on both databases: whole, once, and never for another's run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain import Message, Usage
from service.errors import StorageUnavailable
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import KeyConflict
from service.store.schema import configs, conversations, messages, metadata, runs, signals
from tests._support.runs.store_records import (
    ME,
    NOW,
    SOMEBODY_ELSE,
    Parts,
    agent_answer,
    ending,
    key,
    opening,
    segment,
)


async def _count(database: Database, table: sa.Table) -> int:
    async def work(connection: AsyncConnection) -> int:
        return await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    return await database.read(work)


async def _rows(database: Database, *columns: sa.Column[object]) -> list[tuple[object, ...]]:
    async def work(connection: AsyncConnection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await connection.execute(sa.select(*columns))]

    return await database.read(work)


# --- openings ---


async def test_a_question_is_a_run_in_a_conversation(parts: Parts) -> None:
    run = await parts.opened("Why?\nBecause.", owner=ME)
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert (stored.question, stored.state, stored.created_at) == ("Why?\nBecause.", "running", NOW)
    assert await _rows(parts.database, conversations.c.id, conversations.c.title) == [
        (run.ask.conversation_id, "Why?")
    ]


async def test_a_title_is_the_first_line_with_text_cut_at_80_characters(parts: Parts) -> None:
    await parts.opened("\n  \n" + "x" * 100 + "\nmore")
    assert await _rows(parts.database, conversations.c.title) == [("x" * 80,)]


async def test_a_conversation_that_goes_on_keeps_its_title_and_moves_up(parts: Parts) -> None:
    later = NOW + timedelta(minutes=1)
    await parts.opened("First", conversation="c")
    await parts.opened("Second", conversation="c", created_at=later)
    columns = (conversations.c.title, conversations.c.created_at, conversations.c.updated_at)
    assert await _rows(parts.database, *columns) == [("First", NOW, later)]


async def test_a_configuration_is_kept_once(parts: Parts) -> None:
    await parts.journal.write(Batch(openings=[opening(), opening()]))
    await parts.opened()
    assert await _count(parts.database, configs) == 1


async def test_brought_messages_come_before_the_runs(parts: Parts) -> None:
    brought = (Message("user", "a"), Message("assistant", "b"))
    run = await parts.opened(brought=brought)
    assert await parts.runs.brought(ME, run.ask.conversation_id) == list(brought)


async def test_a_batch_written_twice_is_there_once(parts: Parts) -> None:
    run = opening(key=key(), brought=(Message("user", "a"),))
    batch = Batch(
        openings=[run],
        segments=[segment(run, 1, 4)],
        answers=[agent_answer(run)],
        endings=[ending(run)],
    )
    assert await parts.journal.write(batch) == {}
    once = {table: await _count(parts.database, table) for table in metadata.sorted_tables}
    assert await parts.journal.write(batch) == {}
    assert once == {table: await _count(parts.database, table) for table in metadata.sorted_tables}


async def test_an_empty_batch_is_nothing(parts: Parts) -> None:
    assert await parts.journal.write(Batch()) == {}


@pytest.mark.parametrize("text", ["a\0b", "\ud800 alone", "\U0001f600 and \u2028", "  "])
async def test_any_text_can_be_kept_and_found_again(parts: Parts, text: str) -> None:
    run = await parts.ended(text, question=text, conversation=text, owner=text)
    stored = await parts.runs.get(text, run.run_id)
    assert stored is not None
    clean = text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert (stored.question, stored.answer) == (clean, clean)
    assert len(await parts.runs.exchanges(text, text, 5)) == 1


async def test_an_agents_text_with_a_lone_surrogate_is_kept(parts: Parts) -> None:
    run = await parts.opened()
    await parts.journal.write(Batch(answers=[agent_answer(run, text="\ud800!\0")]))
    assert (await parts.runs.answers(ME, run.run_id))[0].report.text == "\ufffd!\ufffd"


async def test_a_megabyte_can_be_kept(parts: Parts) -> None:
    run = await parts.ended("ä" * 1_000_000)
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert len(stored.answer) == 1_000_000


# --- keys ---


async def test_a_key_that_has_a_run_keeps_it_and_nothing_else_is_written(parts: Parts) -> None:
    first = await parts.opened(key=key())
    second = opening(key=key(fingerprint=b"other"))
    taken = await parts.journal.write(Batch(openings=[second]))
    assert taken == {second.run_id: KeyConflict(first.run_id, b"body")}
    assert await parts.runs.get(ME, second.run_id) is None
    assert await _count(parts.database, conversations) == 1


async def test_the_first_of_a_batch_has_the_key(parts: Parts) -> None:
    first, second = opening(key=key()), opening(key=key())
    taken = await parts.journal.write(Batch(openings=[first, second]))
    assert taken == {second.run_id: KeyConflict(first.run_id, b"body")}


async def test_a_key_is_its_owners_alone(parts: Parts) -> None:
    await parts.opened(key=key())
    other = opening(owner=SOMEBODY_ELSE, key=key())
    assert await parts.journal.write(Batch(openings=[other])) == {}
    mine = await parts.runs.key(ME, "key", NOW)
    theirs = await parts.runs.key(SOMEBODY_ELSE, "key", NOW)
    assert mine is not None
    assert theirs is not None
    assert mine.run_id != theirs.run_id == other.run_id


async def test_an_expired_key_can_be_had_anew(parts: Parts) -> None:
    await parts.opened(key=key(expires_at=NOW))
    assert await parts.runs.key(ME, "key", NOW) is None
    second = opening(key=key())
    assert await parts.journal.write(Batch(openings=[second])) == {}
    known = await parts.runs.key(ME, "key", NOW)
    assert known is not None
    assert known.run_id == second.run_id


async def test_a_key_is_taken_over_from_the_named_run_only(parts: Parts) -> None:
    first = await parts.ended(key=key())
    second = opening(key=key(replaces=first.run_id))
    assert await parts.journal.write(Batch(openings=[second])) == {}
    third = opening(key=key(replaces=first.run_id))
    taken = await parts.journal.write(Batch(openings=[third]))
    assert taken == {third.run_id: KeyConflict(second.run_id, b"body")}


async def test_of_many_workers_with_one_key_one_has_it(ready_url: str, parts: Parts) -> None:
    databases = [Database(ready_url, timeout_s=30) for _ in range(4)]
    batches = [Batch(openings=[opening(key=key())]) for _ in databases]
    results = await asyncio.gather(
        *(JournalWriter(each).write(batch) for each, batch in zip(databases, batches, strict=True))
    )
    for each in databases:
        await each.close()
    assert len([taken for taken in results if not taken]) == 1
    assert len({next(iter(taken.values())).run_id for taken in results if taken}) == 1
    assert await _count(parts.database, runs) == 1


# --- retries ---


async def test_a_retry_takes_the_place_of_its_run(parts: Parts) -> None:
    first = await parts.ended(conversation="c")
    second = await parts.ended("Better.", conversation="c", retry_of=first.run_id)
    stored = await parts.runs.get(ME, first.run_id)
    assert stored is not None
    assert stored.superseded_by == second.run_id
    assert [run.id for run in await parts.runs.exchanges(ME, "c", 5)] == [second.run_id]


async def test_only_one_retry_is_made(parts: Parts) -> None:
    first = await parts.ended()
    retries = [opening(retry_of=first.run_id), opening(retry_of=first.run_id)]
    taken = await parts.journal.write(Batch(openings=retries))
    assert taken == {retries[1].run_id: KeyConflict(retries[0].run_id, None)}
    third = opening(retry_of=first.run_id)
    taken = await parts.journal.write(Batch(openings=[third]))
    assert taken == {third.run_id: KeyConflict(retries[0].run_id, None)}


async def test_of_many_workers_that_retry_one_does(ready_url: str, parts: Parts) -> None:
    first = await parts.ended()
    databases = [Database(ready_url, timeout_s=30) for _ in range(4)]
    results = await asyncio.gather(
        *(
            JournalWriter(each).write(Batch(openings=[opening(retry_of=first.run_id)]))
            for each in databases
        )
    )
    for each in databases:
        await each.close()
    assert len([taken for taken in results if not taken]) == 1


async def test_a_retry_of_anothers_run_leaves_it_alone(parts: Parts) -> None:
    mine = await parts.ended()
    await parts.opened(owner=SOMEBODY_ELSE, retry_of=mine.run_id)
    stored = await parts.runs.get(ME, mine.run_id)
    assert stored is not None
    assert stored.superseded_by is None


# --- what runs tell ---


async def test_what_belongs_to_a_deleted_run_is_left_out(parts: Parts) -> None:
    there, gone = await parts.opened(), opening()
    both = (there, gone)
    batch = Batch(
        segments=[segment(run, 1, 2) for run in both],
        answers=[agent_answer(run) for run in both],
        endings=[ending(run) for run in both],
    )
    await parts.journal.write(batch)
    assert len(await parts.runs.segments(ME, there.run_id)) == 1
    assert await parts.runs.get(ME, gone.run_id) is None
    assert await parts.runs.segments(ME, gone.run_id) == []


async def test_the_first_ending_stays(parts: Parts) -> None:
    run = await parts.opened()
    for state in ("interrupted", "completed"):
        await parts.journal.write(Batch(endings=[ending(run, state=state)]))
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert stored.state == "interrupted"


async def test_what_comes_after_the_end_is_left_out(parts: Parts) -> None:
    """As from a process that was taken for dead and goes on."""
    run = await parts.opened()
    await parts.journal.write(Batch(segments=[segment(run, 1, 2)], endings=[ending(run)]))
    await parts.journal.write(Batch(answers=[agent_answer(run)], segments=[segment(run, 3, 4)]))
    assert [each.last_seq for each in await parts.runs.segments(ME, run.run_id)] == [2]
    assert await parts.runs.answers(ME, run.run_id) == []


async def test_an_ending_says_everything(parts: Parts) -> None:
    run = await parts.opened()
    told = ending(
        run,
        state="failed",
        answer="Half of",
        usage=Usage(1, 2, 3, 4, estimated=True),
        cost_usd=None,
        degraded=True,
        answered_by="llm-2",
        code="upstream_timeout",
        error="It took too long.",
    )
    await parts.journal.write(Batch(endings=[told]))
    stored = await parts.runs.get(ME, run.run_id)
    for name in ("state", "answer", "usage", "cost_usd", "degraded", "answered_by", "code"):
        assert getattr(stored, name) == getattr(told, name)
    for name in ("error", "elapsed_ms", "ended_at", "last_seq"):
        assert getattr(stored, name) == getattr(told, name)


async def test_an_ending_moves_the_conversation_up_and_forgets_signals(parts: Parts) -> None:
    run = await parts.opened()
    await parts.runs.ask_to_stop(ME, run.run_id)
    await parts.journal.write(Batch(endings=[ending(run)]))
    updated = await _rows(parts.database, conversations.c.updated_at)
    assert updated == [(NOW + timedelta(seconds=1),)]
    assert await _count(parts.database, signals) == 0


async def test_an_ending_under_another_owners_name_ends_nothing(parts: Parts) -> None:
    run = await parts.opened()
    await parts.journal.write(Batch(endings=[replace(ending(run), owner=SOMEBODY_ELSE)]))
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert stored.state == "running"


async def test_a_batch_of_more_runs_than_a_statement_has_room_for(parts: Parts) -> None:
    many = [opening(key=key(f"key {number}")) for number in range(600)]
    await parts.journal.write(Batch(openings=many, endings=[ending(run) for run in many]))
    assert await _count(parts.database, runs) == 600


# --- dropped ---


async def test_a_dropped_run_leaves_nothing(parts: Parts) -> None:
    run = opening(key=key(), brought=(Message("user", "a"),))
    await parts.journal.write(Batch(openings=[run], dropped=[run.run_id]))
    for table in (runs, conversations, messages):
        assert await _count(parts.database, table) == 0
    assert await parts.runs.key(ME, "key", NOW) is None


async def test_a_dropped_run_leaves_the_conversation_that_it_joined(parts: Parts) -> None:
    await parts.ended(conversation="c")
    run = await parts.opened(conversation="c")
    await parts.journal.write(Batch(dropped=[run.run_id]))
    assert await _count(parts.database, conversations) == 1
    assert await _count(parts.database, runs) == 1


async def test_a_dropped_retry_gives_its_run_back(parts: Parts) -> None:
    first = await parts.ended()
    retry = await parts.opened(retry_of=first.run_id, conversation=first.ask.conversation_id)
    await parts.journal.write(Batch(dropped=[retry.run_id]))
    stored = await parts.runs.get(ME, first.run_id)
    assert stored is not None
    assert stored.superseded_by is None


# --- several writers ---


async def test_workers_that_write_at_once_do_not_stand_in_each_others_way(
    ready_url: str, parts: Parts
) -> None:
    databases = [Database(ready_url, timeout_s=30) for _ in range(3)]

    async def work(database: Database) -> None:
        journal = JournalWriter(database)
        for _ in range(10):
            many = [opening(conversation=f"c{number}") for number in range(5)]
            await journal.write(Batch(openings=many))
            await journal.write(Batch(endings=[ending(run) for run in reversed(many)]))

    await asyncio.gather(*map(work, databases))
    for each in databases:
        await each.close()
    assert await _count(parts.database, runs) == 150
    assert await _count(parts.database, conversations) == 5


async def test_a_conversation_that_is_deleted_while_it_is_written_to_hurts_nothing_else(
    ready_url: str, parts: Parts
) -> None:
    other = Database(ready_url, timeout_s=30)
    users = Conversations(other)
    kept = await parts.opened(conversation="kept")
    for round_ in range(1, 30):
        lost = [await parts.opened(conversation="lost") for _ in range(3)]
        both = [kept, *lost]
        batch = Batch(
            segments=[segment(run, round_, round_) for run in both],
            answers=[agent_answer(run) for run in lost],
            endings=[ending(run) for run in lost],
        )
        written, deleted = await asyncio.gather(
            parts.journal.write(batch), users.delete(ME, "lost")
        )
        assert (written, deleted) == ({}, True)
        assert len(await parts.runs.segments(ME, kept.run_id)) == round_
    await other.close()
    assert await _count(parts.database, runs) == 1


async def test_a_question_whose_commit_is_in_doubt_can_be_withdrawn(
    ready_url: str, parts: Parts
) -> None:
    database = Database(ready_url, timeout_s=0.5)
    journal, run, go_on = JournalWriter(database), opening(), asyncio.Event()

    async def hang(connection: AsyncConnection) -> None:
        await journal._write(Batch([run]), connection)
        await go_on.wait()

    with pytest.raises(StorageUnavailable):
        await database.write(hang)
    withdrawal = asyncio.create_task(journal.write(Batch(dropped=[run.run_id])))
    await asyncio.sleep(0.1)
    go_on.set()
    await withdrawal
    assert await parts.runs.get(ME, run.run_id) is None
    await database.close()
