"""Sums of usage: counted once for each run, and complete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa

from service.access.principal import Principal
from service.domain import AgentReport, Usage
from service.runs.projections.shares import make_shares
from service.runs.projections.summary import AgentSummary, RunSummary
from service.store.conversations import Conversations
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import NewRun, RunEnd
from service.store.schema import runs
from service.store.scope import ALL_OWNERS
from service.store.usage.records import UsageGroup, UsageShare
from service.store.usage.report import UsageDimension, UsageQuery, UsageStore
from service.store.usage.tables import usage_sums
from tests._support.runs.store_records import ME, OTHER_OWNER, make_run, make_run_end

DAY = date(2026, 3, 14)
_SHARES = (
    UsageShare(agent="llm-1", model="a", usage=Usage(100, 50, 10, 5), cost_usd=0.25),
    UsageShare(agent="llm-2", model="b", usage=Usage(100, 20), cost_usd=None, is_wasted=True),
    UsageShare(agent="", model="", usage=Usage(1, 2), cost_usd=0.125),
)


def _run(owner: str = ME, key_id: str | None = None) -> NewRun:
    run = make_run(owner=owner)
    return replace(run, ask=replace(run.ask, principal=Principal(owner=owner, key_id=key_id)))


def _end(run: NewRun, shares: Sequence[UsageShare] = _SHARES, day: date = DAY) -> RunEnd:
    at = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
    return make_run_end(run, shares=shares, ended_at=at)


async def _ask(journal: JournalWriter, *ends: RunEnd, runs: Sequence[NewRun]) -> None:
    await journal.write(Batch(openings=list(runs)))
    await journal.write(Batch(endings=list(ends)))


async def _total(
    database: Database,
    *by: UsageDimension,
    owner: str | None = ME,
    since: date = DAY,
    until: date = DAY,
) -> list[UsageGroup]:
    query = UsageQuery(owner=owner, since=since, until=until, by=by)
    return await UsageStore(database).list_groups(query, 1_000)


async def test_the_usage_of_a_run_is_counted_once_by_every_dimension(database: Database) -> None:
    journal, run = JournalWriter(database), _run(key_id="abc")
    await _ask(journal, _end(run), _end(run), runs=[run])
    await journal.write(Batch(openings=[run], endings=[_end(run)]))  # a commit in doubt
    ((_, sums),) = ((each.values, each.sums) for each in await _total(database))
    assert (sums.runs, sums.calls, sums.unpriced) == (1, 2, 1)
    assert (sums.input_tokens, sums.output_tokens) == (201, 72)
    assert (sums.cached_tokens, sums.reasoning_tokens) == (10, 5)
    assert (sums.cost_nano, sums.wasted_nano) == (375_000_000, 0)
    agents = {each.values: each.sums for each in await _total(database, "agent", "model")}
    assert {key: each.runs for key, each in agents.items()} == {
        ("", ""): 0,
        ("llm-1", "a"): 1,
        ("llm-2", "b"): 1,
    }
    by: list[UsageDimension] = ["day", "key", "user", "ensemble"]
    assert [each.values for each in await _total(database, *by)] == [
        ("2026-03-14", "abc", ME, "fanout")
    ]


async def test_usage_belongs_to_its_owner_and_admins_see_the_sum(database: Database) -> None:
    journal, mine, theirs = JournalWriter(database), _run(), _run(OTHER_OWNER)
    await _ask(journal, _end(mine), _end(theirs), runs=[mine, theirs])
    assert [each.sums.runs for each in await _total(database)] == [1]
    assert [each.sums.runs for each in await _total(database, owner=None)] == [2]
    assert [each.values for each in await _total(database, "user", owner=None)] == [
        (ME,),
        (OTHER_OWNER,),
    ]
    assert await _total(database, owner="a third") == []


async def test_a_deleted_conversation_has_been_used_all_the_same(database: Database) -> None:
    journal, run = JournalWriter(database), _run()
    await _ask(journal, _end(run), runs=[run])
    before = await _total(database)
    assert await Conversations(database).delete(ME, run.ask.conversation_id)
    assert await _total(database) == before


async def test_a_run_that_another_worker_took_over_is_counted_once(database: Database) -> None:
    journal, run = JournalWriter(database), _run()
    await journal.write(Batch(openings=[run]))
    await database.execute(sa.update(runs).values(attempt=2), access=ALL_OWNERS)
    await journal.write(Batch(endings=[_end(run)]))
    assert await _total(database) == []
    await journal.write(Batch(endings=[replace(_end(run), attempt=2)]))
    assert [each.sums.runs for each in await _total(database)] == [1]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (date(2026, 1, 1), date(2026, 12, 31), 6),
        (date(2026, 1, 31), date(2026, 4, 1), 5),
        (date(2026, 2, 1), date(2026, 2, 28), 1),
        (date(2026, 1, 30), date(2026, 2, 14), 1),
        (date(2026, 3, 14), date(2026, 3, 31), 2),
        (date(2026, 3, 15), date(2026, 3, 30), 0),
        (date(2025, 1, 1), date(2026, 1, 30), 0),
        (date(2026, 4, 1), date(2026, 12, 31), 2),
        (date(2026, 4, 2), date(2027, 12, 31), 1),
    ],
)
async def test_whole_months_and_single_days_add_up(
    database: Database, since: date, until: date, expected: int
) -> None:
    days = ("2026-01-31", "2026-02-15", "2026-03-14", "2026-03-31", "2026-04-01", "2026-12-31")
    made = [_run() for _ in days]
    ends = [_end(run, day=date.fromisoformat(day)) for run, day in zip(made, days, strict=True)]
    await _ask(JournalWriter(database), *ends, runs=made)
    for by in ((), ("user",), ("key",)):
        found = await _total(database, *by, since=since, until=until)
        assert sum(each.sums.runs for each in found) == expected
        everyone = await _total(database, *by, owner=None, since=since, until=until)
        assert sum(each.sums.runs for each in everyone) == expected
    by_day = await _total(database, "day", since=since, until=until)
    assert sum(each.sums.runs for each in by_day) == expected


async def test_concurrent_processes_add_up_also_after_their_rows_are_joined(
    ready_url: str,
) -> None:
    databases = [Database(ready_url) for _ in range(3)]
    made = [_run() for _ in range(30)]

    async def work(number: int) -> None:
        journal = JournalWriter(databases[number])
        for run in made[number::3]:
            await journal.write(Batch(openings=[run], endings=[_end(run)]))

    await asyncio.gather(*map(work, range(3)))
    before = await _total(databases[0], "agent")
    await asyncio.gather(*(UsageStore(each).fold(date(2026, 5, 1)) for each in databases))
    assert await _total(databases[0], "agent") == before
    assert [each.sums.runs for each in await _total(databases[0])] == [30]
    rows = await databases[0].fetch_all(sa.select(usage_sums.c.writer), access=ALL_OWNERS)
    assert {row.writer for row in rows} == {""}
    for each in databases:
        await each.close()


def test_the_shares_of_a_run_add_up_to_its_usage() -> None:
    def report(agent: str, usage: Usage, cost: float, reused: bool = False) -> AgentReport:
        return AgentReport(
            agent=agent,
            model="model",
            text="",
            usage=usage,
            cost=cost,
            elapsed_ms=1.0,
            first_token_ms=None,
            reused=reused,
        )

    agents = {
        "a": AgentSummary("a", "answered", report=report("a", Usage(10, 5), 0.5)),
        "b": AgentSummary("b", "skipped", report=report("b", Usage(4, 1), 0.25)),
        "c": AgentSummary("c", "answered", report=report("c", Usage(9, 9), 9.0, reused=True)),
    }
    run = RunSummary("completed", agents, usage=Usage(20, 8), cost=1.0)
    shares = {share.agent: share for share in make_shares(run)}
    assert set(shares) == {"a", "b", ""}
    assert shares[""].usage == Usage(6, 2)
    assert shares[""].cost_usd == 0.25
    assert {name: share.is_wasted for name, share in shares.items()} == {
        "a": False,
        "b": True,
        "": False,
    }
    run.state = "cancelled"
    assert all(share.is_wasted for share in make_shares(run))
