"""Concurrent workers on one database."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StorageUnavailable
from service.store.connections.transaction import SqlAlchemyTransaction
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.schema import conversations, runs
from service.store.scope import ALL_OWNERS
from service.store.workers import Workers
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
from tests._support.runs.stored_rows import count_rows


async def test_of_many_workers_with_one_key_only_one_gets_it(ready_url: str, parts: Parts) -> None:
    databases = [Database(ready_url, timeout_s=30) for _ in range(4)]
    batches = [Batch(openings=[make_run(key=make_key())]) for _ in databases]
    results = await asyncio.gather(
        *(JournalWriter(each).write(batch) for each, batch in zip(databases, batches, strict=True))
    )
    for each in databases:
        await each.close()
    conflicts = [written.conflicts for written in results]
    assert len([taken for taken in conflicts if not taken]) == 1
    assert len({next(iter(taken.values())).run_id for taken in conflicts if taken}) == 1
    assert await count_rows(parts.database, runs) == 1


async def test_of_many_workers_that_retry_a_run_only_one_succeeds(
    ready_url: str, parts: Parts
) -> None:
    first = await parts.finish_run()
    databases = [Database(ready_url, timeout_s=30) for _ in range(4)]
    results = await asyncio.gather(
        *(
            JournalWriter(each).write(Batch(openings=[make_run(retry_of=first.run_id)]))
            for each in databases
        )
    )
    for each in databases:
        await each.close()
    assert len([written for written in results if not written.conflicts]) == 1


async def test_concurrent_writes_of_workers_do_not_block_each_other(
    ready_url: str, parts: Parts
) -> None:
    databases = [Database(ready_url, timeout_s=30) for _ in range(3)]

    async def work(database: Database) -> None:
        journal = JournalWriter(database)
        for _ in range(10):
            many = [make_run(conversation=f"c{number}") for number in range(5)]
            await journal.write(Batch(openings=many))
            await journal.write(Batch(endings=[make_run_end(run) for run in reversed(many)]))

    await asyncio.gather(*map(work, databases))
    for each in databases:
        await each.close()
    assert await count_rows(parts.database, runs) == 150
    assert await count_rows(parts.database, conversations) == 5


async def test_deleting_a_conversation_during_writes_affects_no_other(
    ready_url: str, parts: Parts
) -> None:
    other = Database(ready_url, timeout_s=30)
    users = Conversations(other)
    remaining = await parts.create_run(conversation="kept")
    for round_ in range(1, 30):
        lost = [await parts.create_run(conversation="lost") for _ in range(3)]
        both = [remaining, *lost]
        batch = Batch(
            segments=[make_segment(run, round_, round_) for run in both],
            answers=[make_agent_answer(run) for run in lost],
            endings=[make_run_end(run) for run in lost],
        )
        written, deleted = await asyncio.gather(
            parts.journal.write(batch), users.delete(ME, "lost")
        )
        assert (written.conflicts, deleted) == ({}, True)
        assert len(await parts.runs.list_segments(ME, remaining.run_id)) == round_
    await other.close()
    assert await count_rows(parts.database, runs) == 1


async def test_a_question_whose_commit_is_in_doubt_can_be_withdrawn(
    ready_url: str, parts: Parts
) -> None:
    database = Database(ready_url, timeout_s=0.5)
    journal, run, go_on = JournalWriter(database), make_run(), asyncio.Event()

    def write(connection: Connection) -> None:
        journal._write(Batch([run]), SqlAlchemyTransaction(connection))

    async def hang(connection: AsyncConnection) -> None:
        await connection.run_sync(write)
        await go_on.wait()

    with pytest.raises(StorageUnavailable):
        await database.write(hang, access=ALL_OWNERS)
    withdrawal = asyncio.create_task(journal.write(Batch(dropped=[run.run_id])))
    await asyncio.sleep(0.1)
    go_on.set()
    await withdrawal
    assert await parts.runs.get(ME, run.run_id) is None
    await database.close()


@pytest.mark.parametrize("count", [199, 200, 401])
async def test_many_runs_expire_together_and_each_once(
    parts: Parts, ready_url: str, count: int
) -> None:
    many = [make_run() for _ in range(count)]
    batch = Batch(many, endings=[make_run_end(run, events_expire_at=NOW) for run in many])
    await parts.journal.write(batch)
    other = Database(ready_url, timeout_s=30)
    expired = await asyncio.gather(
        parts.workers.delete_expired(NOW), Workers(other).delete_expired(NOW)
    )
    await other.close()
    assert sum(expired) == count
