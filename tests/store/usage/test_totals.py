"""Totals of usage: equal to sums computed from the runs, read from few rows, added in one step."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from random import Random

import pytest
import sqlalchemy as sa

from service.access.principal import Principal
from service.domain import Usage
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.migrate import migrate
from service.store.records import NewRun, RunEnd
from service.store.scope import ALL_OWNERS
from service.store.usage.records import UsageShare, UsageSums
from service.store.usage.report import (
    DIMENSIONS,
    UsageDimension,
    UsageQuery,
    UsageStore,
    select_groups,
)
from service.store.usage.tables import TOTALS, usage_sums
from tests._support.runs.store_records import make_run, make_run_end

_FIRST, _LAST = date(2026, 1, 20), date(2026, 4, 9)
_PERIODS = [(_FIRST, _LAST), (date(2026, 2, 1), date(2026, 3, 31)), (_FIRST, date(2026, 2, 10))]
_OWNERS = ("user-1", "user-2", "user-3")
_KEYS = {owner: (None, f"{owner}-a", f"{owner}-b") for owner in _OWNERS}
_WITHOUT_DETAILS: list[list[UsageDimension]] = [[], ["day"], ["user"], ["key"], ["user", "key"]]
# The owner and the dimensions of a query, and the number of owners with rows to add up.
_READS: list[tuple[str | None, list[UsageDimension], int]] = [
    (None, [], 1),
    (None, ["user"], 2),
    (None, ["key"], 2),
    (_OWNERS[0], ["user", "key"], 1),
]
_Ended = tuple[NewRun, RunEnd]


def _make_shares(random: Random) -> Iterator[UsageShare]:
    for agent in ("", *random.sample(["llm-1", "llm-2", "llm-3"], random.randint(0, 3))):
        yield UsageShare(
            agent=agent,
            model=random.choice(["a", "b"]) if agent else "",
            usage=Usage(random.randint(0, 99), random.randint(0, 99), random.randint(0, 9), 3),
            cost_usd=random.choice([None, 0.5, 0.125]) if agent else 0.25,
            is_wasted=random.random() < 0.3,
        )


def _make_runs(count: int) -> list[_Ended]:
    random, made = Random(7), []
    for _ in range(count):
        owner = random.choice(_OWNERS)
        run = make_run(owner=owner)
        principal = Principal(owner=owner, key_id=random.choice(_KEYS[owner]))
        ask = replace(run.ask, principal=principal)
        run = replace(run, ask=ask, ensemble=random.choice(["fanout", "race"]))
        day = _FIRST + timedelta(days=random.randint(0, (_LAST - _FIRST).days))
        at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        made.append((run, make_run_end(run, shares=list(_make_shares(random)), ended_at=at)))
    return made


@pytest.fixture
async def filled(ready_url: str) -> AsyncIterator[tuple[Database, list[_Ended]]]:
    """Yield a database with the runs of two processes, and these runs."""
    runs, databases = _make_runs(60), [Database(ready_url) for _ in range(2)]
    for number, database in enumerate(databases):
        some = runs[number::2]
        batch = Batch(openings=[run for run, _ in some], endings=[end for _, end in some])
        await JournalWriter(database).write(batch)
    yield databases[0], runs
    for database in databases:
        await database.close()


def _sum_up(runs: Sequence[_Ended], query: UsageQuery) -> dict[tuple[str, ...], UsageSums]:
    """Return the groups of a query computed from the runs."""
    groups: dict[tuple[str, ...], UsageSums] = {}
    for run, end in runs:
        owner, day = run.ask.principal.owner, end.ended_at.date()
        if query.owner in (None, owner) and query.since <= day <= query.until:
            for share in end.shares:
                values = {
                    "day": day.isoformat(), "agent": share.agent, "model": share.model,
                    "key": run.ask.principal.key_id or "", "user": owner,
                    "ensemble": run.ensemble,
                }  # fmt: skip
                key = tuple(values[name] for name in query.by)
                groups[key] = groups.get(key, UsageSums()).plus(UsageSums.of_share(share))
    if {"agent", "model"} & set(query.by):
        groups = {key: each._replace(runs=each.calls) for key, each in groups.items()}
    return {key: each for key, each in groups.items() if each != UsageSums()}


async def _compare_all(database: Database, runs: Sequence[_Ended]) -> None:
    """Compare every combination of dimensions, of one owner and of all, with the runs."""
    usage = UsageStore(database)
    for size in range(len(DIMENSIONS) + 1):
        for number, by in enumerate(combinations(DIMENSIONS, size)):
            since, until = _PERIODS[(size + number) % len(_PERIODS)]
            for owner in (None, _OWNERS[0]):
                query = UsageQuery(owner=owner, since=since, until=until, by=by)
                found = await usage.list_groups(query, 1_000)
                assert {each.values: each.sums for each in found} == _sum_up(runs, query), query


async def test_every_combination_of_dimensions_equals_the_sums_of_the_runs(
    filled: tuple[Database, list[_Ended]],
) -> None:
    database, runs = filled
    await _compare_all(database, runs)
    for by in _WITHOUT_DETAILS:
        for since, until in _PERIODS:
            query = UsageQuery(owner=None, since=since, until=until, by=by)
            found = await UsageStore(database).list_groups(query, 1_000)
            assert {each.values: each.sums for each in found} == _sum_up(runs, query), query


async def test_joined_rows_of_several_processes_equal_the_sums_of_the_runs(
    filled: tuple[Database, list[_Ended]],
) -> None:
    database, runs = filled
    await UsageStore(database).fold(date(2026, 6, 1))
    writers = await database.fetch_all(
        sa.select(usage_sums.c.level, usage_sums.c.writer).distinct(), access=ALL_OWNERS
    )
    assert {tuple(row) for row in writers} == {(level, "") for level in (*TOTALS, *TOTALS.values())}
    await _compare_all(database, runs)


async def test_a_migration_fills_the_totals_from_the_rows_of_agents(
    filled: tuple[Database, list[_Ended]], ready_url: str
) -> None:
    database, runs = filled
    rows = sa.select(usage_sums).order_by(*usage_sums.primary_key)
    before = [tuple(row) for row in await database.fetch_all(rows, access=ALL_OWNERS)]
    await migrate(ready_url, "0015")
    levels = await database.fetch_all(sa.select(usage_sums.c.level).distinct(), access=ALL_OWNERS)
    assert {row.level for row in levels} == set(TOTALS)
    await migrate(ready_url)
    assert [tuple(row) for row in await database.fetch_all(rows, access=ALL_OWNERS)] == before
    await _compare_all(database, runs)


async def _store_days(database: Database, ensembles: int, agents: int) -> None:
    """Store a run of each of two users on each day of 60, in each ensemble, with each agent."""
    shares = [
        UsageShare(agent=agent, model=agent, usage=Usage(1, 1), cost_usd=0.5)
        for agent in ("", *(f"llm-{number}" for number in range(agents)))
    ]
    batch = Batch()
    for day in range(60):
        at = datetime(2026, 1, 15, 12, tzinfo=UTC) + timedelta(days=day)
        for owner in _OWNERS[:2]:
            for ensemble in range(ensembles):
                run = replace(make_run(owner=owner), ensemble=f"ensemble-{ensemble}")
                batch.openings.append(run)
                batch.endings.append(make_run_end(run, shares=shares, ended_at=at))
    await JournalWriter(database).write(batch)


async def _count_rows(database: Database, query: UsageQuery) -> int:
    """Return the number of rows that the statement of the query adds up."""
    rows = select_groups(query).with_only_columns(sa.func.count()).group_by(None).order_by(None)
    ((count,),) = await database.fetch_all(rows, access=ALL_OWNERS)
    return int(count)


@pytest.mark.parametrize(("ensembles", "agents"), [(1, 0), (3, 4)])
async def test_the_rows_read_depend_on_days_and_users_alone(
    database: Database, ensembles: int, agents: int
) -> None:
    await _store_days(database, ensembles, agents)
    for owner, by, owners in _READS:
        year = UsageQuery(owner=owner, since=date(2026, 1, 1), until=date(2026, 12, 31), by=by)
        assert await _count_rows(database, year) == owners * 3
        partial = replace(year, since=date(2026, 1, 16), until=date(2026, 3, 15))
        assert await _count_rows(database, partial) == owners * (16 + 1 + 15)
        by_day = replace(year, by=["day", *by])
        assert await _count_rows(database, by_day) == owners * 60


async def test_a_query_reads_ranges_of_an_index(database: Database) -> None:
    if database.dialect != "sqlite":
        pytest.skip("PostgreSQL reads a table of few rows as a whole")
    await _store_days(database, 1, 1)
    for owner in (None, _OWNERS[0]):
        for by in _WITHOUT_DETAILS:
            query = UsageQuery(owner=owner, since=_FIRST, until=_LAST, by=by)
            statement = select_groups(query).compile(compile_kwargs={"literal_binds": True})
            plan = await database.fetch_all(
                sa.text(f"EXPLAIN QUERY PLAN {statement}"), access=ALL_OWNERS
            )
            reads = [row.detail for row in plan if "usage_sums" in row.detail]
            assert reads
            for each in reads:
                assert each.startswith("SEARCH usage_sums USING INDEX"), each
                assert "level=?" in each, each
                assert "period>?" in each, each


async def test_the_end_of_a_run_adds_a_total_for_each_period_and_owner(
    database: Database,
) -> None:
    agents = 3
    await _store_days(database, 1, agents)
    levels = await database.fetch_all(sa.select(usage_sums.c.level), access=ALL_OWNERS)
    rows = Counter(row.level for row in levels)
    owners, periods = 3, {"day": 60, "month": 3}  # two users and all together
    for level, number in periods.items():
        assert rows[level] == owners * number * (agents + 1)
        assert rows[TOTALS[level]] == owners * number
