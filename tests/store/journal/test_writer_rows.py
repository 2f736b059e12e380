"""The rows that the journal commits, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.domain import Message
from service.store.journal.batch import Batch
from service.store.records import KeyConflict
from service.store.schema import configs, conversations, messages, metadata, runs, signals
from tests._support.runs.store_records import (
    ME,
    NOW,
    Parts,
    make_agent_answer,
    make_key,
    make_run,
    make_run_end,
    make_segment,
)
from tests._support.runs.stored_rows import count_rows, select_rows


async def test_a_question_is_a_run_in_a_conversation(parts: Parts) -> None:
    run = await parts.create_run("Why?\nBecause.", owner=ME)
    stored = await parts.runs.get(ME, run.run_id)
    assert stored is not None
    assert (stored.question, stored.state, stored.created_at) == ("Why?\nBecause.", "running", NOW)
    assert await select_rows(parts.database, conversations.c.id, conversations.c.title) == [
        (run.ask.conversation_id, "Why?")
    ]


async def test_a_title_is_the_first_line_with_text_cut_at_80_characters(parts: Parts) -> None:
    await parts.create_run("\n  \n" + "x" * 100 + "\nmore")
    assert await select_rows(parts.database, conversations.c.title) == [("x" * 80,)]


async def test_a_conversation_that_goes_on_keeps_its_title_and_moves_up(parts: Parts) -> None:
    later = NOW + timedelta(minutes=1)
    await parts.create_run("First", conversation="c")
    await parts.create_run("Second", conversation="c", created_at=later)
    columns = (conversations.c.title, conversations.c.created_at, conversations.c.updated_at)
    assert await select_rows(parts.database, *columns) == [("First", NOW, later)]


async def test_a_configuration_is_kept_once(parts: Parts) -> None:
    await parts.journal.write(Batch(openings=[make_run(), make_run()]))
    await parts.create_run()
    assert await count_rows(parts.database, configs) == 1


async def test_a_batch_written_twice_is_there_once(parts: Parts) -> None:
    run = make_run(key=make_key(), initial_messages=(Message("user", "a"),))
    batch = Batch(
        openings=[run],
        segments=[make_segment(run, 1, 4)],
        answers=[make_agent_answer(run)],
        endings=[make_run_end(run)],
    )
    assert (await parts.journal.write(batch)).conflicts == {}
    once = {table: await count_rows(parts.database, table) for table in metadata.sorted_tables}
    assert (await parts.journal.write(batch)).conflicts == {}
    assert once == {
        table: await count_rows(parts.database, table) for table in metadata.sorted_tables
    }


@pytest.mark.parametrize("text", ["a\0b", "\ud800 alone", "\U0001f600 and \u2028", "  "])
async def test_any_text_can_be_kept_and_found_again(parts: Parts, text: str) -> None:
    run = await parts.finish_run(text, question=text, conversation=text, owner=text)
    stored = await parts.runs.get(text, run.run_id)
    assert stored is not None
    clean = text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert (stored.question, stored.answer) == (clean, clean)
    assert len(await parts.runs.list_exchanges(text, text, 5)) == 1


async def test_an_agents_text_with_a_lone_surrogate_is_kept(parts: Parts) -> None:
    run = await parts.create_run()
    await parts.journal.write(Batch(answers=[make_agent_answer(run, text="\ud800!\0")]))
    assert (await parts.runs.list_agent_answers(ME, run.run_id))[0].report.text == "\ufffd!\ufffd"


async def test_a_key_that_has_a_run_keeps_it_and_nothing_else_is_written(parts: Parts) -> None:
    first = await parts.create_run(key=make_key())
    second = make_run(key=make_key(fingerprint=b"other"))
    taken = (await parts.journal.write(Batch(openings=[second]))).conflicts
    assert taken == {second.run_id: KeyConflict(first.run_id, b"body")}
    assert await parts.runs.get(ME, second.run_id) is None
    assert await count_rows(parts.database, conversations) == 1


async def test_an_ending_moves_the_conversation_up_and_forgets_signals(parts: Parts) -> None:
    run = await parts.create_run()
    await parts.runs.request_stop(ME, run.run_id)
    await parts.journal.write(Batch(endings=[make_run_end(run)]))
    updated = await select_rows(parts.database, conversations.c.updated_at)
    assert updated == [(NOW + timedelta(seconds=1),)]
    assert await count_rows(parts.database, signals) == 0


async def test_a_batch_of_more_runs_than_a_statement_has_room_for(parts: Parts) -> None:
    many = [make_run(key=make_key(f"key {number}")) for number in range(600)]
    await parts.journal.write(Batch(openings=many, endings=[make_run_end(run) for run in many]))
    assert await count_rows(parts.database, runs) == 600


async def test_a_dropped_run_leaves_nothing(parts: Parts) -> None:
    run = make_run(key=make_key(), initial_messages=(Message("user", "a"),))
    await parts.journal.write(Batch(openings=[run], dropped=[run.run_id]))
    for table in (runs, conversations, messages):
        assert await count_rows(parts.database, table) == 0
    assert await parts.runs.find_key(ME, "key", NOW) is None


async def test_a_dropped_run_leaves_the_conversation_that_it_joined(parts: Parts) -> None:
    await parts.finish_run(conversation="c")
    run = await parts.create_run(conversation="c")
    await parts.journal.write(Batch(dropped=[run.run_id]))
    assert await count_rows(parts.database, conversations) == 1
    assert await count_rows(parts.database, runs) == 1
