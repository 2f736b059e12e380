"""Feedback: one rating for each answer and agent, of the owner of the run, with its sums."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from service.store.accounts.ownership import Ownership
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.feedback.feedback import FeedbackStore
from service.store.feedback.records import FeedbackSums, Rating
from service.store.feedback.report import FeedbackReport
from service.store.feedback.tables import feedback
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import NewRun
from service.store.scope import Scope
from service.store.usage.report import UsageDimension, UsageQuery
from tests._support.runs.store_records import ME, NOW, OTHER_OWNER, make_run, make_run_end

_DAY = date(2026, 3, 14)


async def _add_run(
    database: Database, owner: str = ME, ended_at: datetime = NOW, ensemble: str = "fanout"
) -> NewRun:
    run = make_run(owner=owner, ensemble=ensemble)
    end = make_run_end(run, ended_at=ended_at)
    await JournalWriter(database).write(Batch(openings=[run], endings=[end]))
    return run


async def _sum(
    database: Database,
    *by: UsageDimension,
    owner: str | None = ME,
    since: date = _DAY,
    until: date = _DAY,
) -> dict[tuple[str, ...], FeedbackSums]:
    query = UsageQuery(owner=owner, since=since, until=until, by=by)
    return dict(await FeedbackReport(database).list_sums(query))


async def test_a_second_rating_replaces_the_first(database: Database) -> None:
    store, run = FeedbackStore(database), await _add_run(database)
    later = NOW + timedelta(hours=1)
    assert await store.put(ME, run.run_id, Rating(score=0.25, comment="Wrong."), NOW)
    assert await store.put(ME, run.run_id, Rating(agent="llm-1", thumb="up"), NOW)
    assert await store.put(ME, run.run_id, Rating(thumb="down", better="llm-1"), later)
    answer, agent = await store.list_ratings(ME, run.run_id)
    assert answer.rating == Rating(thumb="down", better="llm-1")
    assert (answer.created_at, answer.updated_at) == (NOW, later)
    assert agent.rating == Rating(agent="llm-1", thumb="up")
    await store.delete(ME, run.run_id, "")
    await store.delete(ME, run.run_id, "")
    assert await store.list_ratings(ME, run.run_id) == [agent]


async def test_runs_of_others_and_unknown_runs_cannot_be_rated(database: Database) -> None:
    store, run = FeedbackStore(database), await _add_run(database)
    assert await store.put(ME, run.run_id, Rating(score=1.0), NOW)
    for owner, run_id in ((OTHER_OWNER, run.run_id), (ME, "run_unknown")):
        assert not await store.put(owner, run_id, Rating(score=0.0), NOW)
        await store.delete(owner, run_id, "")
        assert await store.list_ratings(owner, run_id) == []
    assert [each.rating.score for each in await store.list_ratings(ME, run.run_id)] == [1.0]


async def test_a_rating_is_deleted_with_its_run(database: Database) -> None:
    store, run = FeedbackStore(database), await _add_run(database)
    await store.put(ME, run.run_id, Rating(score=1.0), NOW)
    assert await Conversations(database).delete(ME, run.ask.conversation_id)
    rows = await database.fetch_all(Scope(ME).select(feedback), access=Scope(ME))
    assert rows == []
    assert not await store.put(ME, run.run_id, Rating(score=1.0), NOW)


async def test_a_rating_is_transferred_with_its_run(database: Database) -> None:
    store, run = FeedbackStore(database), await _add_run(database)
    await store.put(ME, run.run_id, Rating(score=1.0), NOW)
    await Ownership(database).transfer(ME, OTHER_OWNER)
    assert await store.list_ratings(ME, run.run_id) == []
    assert [each.rating.score for each in await store.list_ratings(OTHER_OWNER, run.run_id)] == [1]
    assert await store.put(OTHER_OWNER, run.run_id, Rating(score=0.5), NOW)
    assert (await _sum(database, owner=OTHER_OWNER))[()].score == 0.5


async def test_ratings_during_a_transfer_have_the_owner_of_their_run(database: Database) -> None:
    store = FeedbackStore(database)
    made = [await _add_run(database) for _ in range(20)]

    async def rate(run: NewRun) -> None:
        for owner in (ME, OTHER_OWNER):
            await store.put(owner, run.run_id, Rating(score=1.0), NOW)

    ratings = (rate(run) for run in made)
    await asyncio.gather(*ratings, Ownership(database).transfer(ME, OTHER_OWNER))
    rows = await database.fetch_all(Scope(ME).select(feedback), access=Scope(ME))
    assert rows == []
    assert all([await store.put(OTHER_OWNER, run.run_id, Rating(score=0.0), NOW) for run in made])
    assert (await _sum(database, owner=OTHER_OWNER))[()] == FeedbackSums(20, 0.0, 0)


async def test_concurrent_ratings_of_one_answer_leave_one(ready_url: str) -> None:
    databases = [Database(ready_url) for _ in range(3)]
    run = await _add_run(databases[0])
    scores = [number / 20 for number in range(20)]
    await asyncio.gather(
        *(
            FeedbackStore(databases[number % 3]).put(ME, run.run_id, Rating(score=score), NOW)
            for number, score in enumerate(scores)
        )
    )
    (left,) = await FeedbackStore(databases[0]).list_ratings(ME, run.run_id)
    assert left.rating.score in scores
    for each in databases:
        await each.close()


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ((), {(): FeedbackSums(2, 1.25, 1)}),
        (("ensemble",), {("a",): FeedbackSums(1, 0.25, 0), ("b",): FeedbackSums(1, 1.0, 1)}),
        (
            ("agent", "model"),
            {
                ("", ""): FeedbackSums(2, 1.25, 0),
                ("llm-1", "m1"): FeedbackSums(1, 0.0, 0),
                ("llm-2", "m2"): FeedbackSums(0, 0.0, 1),
            },
        ),
        (("day", "user", "key"), {("2026-03-14", ME, ""): FeedbackSums(2, 1.25, 1)}),
    ],
)
async def test_ratings_are_summed_by_the_dimensions_of_usage(
    database: Database,
    by: tuple[UsageDimension, ...],
    expected: dict[tuple[str, ...], FeedbackSums],
) -> None:
    store = FeedbackStore(database)
    last = datetime(2026, 3, 14, 23, 59, 59, 999_000, tzinfo=UTC)
    first, second = await _add_run(database, ensemble="a"), await _add_run(database, ME, last, "b")
    other = await _add_run(database, OTHER_OWNER)
    await store.put(ME, first.run_id, Rating(score=0.25, thumb="up"), NOW)
    await store.put(ME, first.run_id, Rating(agent="llm-1", model="m1", thumb="down"), NOW)
    await store.put(ME, first.run_id, Rating(agent="llm-3", model="m3", comment="Long."), NOW)
    await store.put(ME, second.run_id, Rating(thumb="up", better="llm-2", better_model="m2"), NOW)
    await store.put(OTHER_OWNER, other.run_id, Rating(score=0.0), NOW)
    found = await _sum(database, *by)
    assert {key: each for key, each in found.items() if each != FeedbackSums()} == expected
    everyone = await _sum(database, owner=None)
    assert everyone == {(): FeedbackSums(3, 1.25, 1)}
    later = await _sum(database, *by, since=date(2026, 3, 15), until=date.max)
    assert all(each == FeedbackSums() for each in later.values())
