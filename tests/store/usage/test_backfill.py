"""Usage of the runs that ended before the sums existed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from service.domain import Usage
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.migrate import migrate
from service.store.usage.records import UsageGroup, UsageShare
from service.store.usage.report import UsageQuery, UsageStore
from tests._support.runs.store_records import (
    ME,
    OTHER_OWNER,
    make_agent_answer,
    make_run,
    make_run_end,
)

_AGENT = UsageShare(agent="llm-1", model="model", usage=Usage(1, 2), cost_usd=0.5)
_REST = UsageShare(agent="", model="", usage=Usage(9, 18), cost_usd=0.25)


async def _store_runs(database: Database) -> None:
    """Store two completed runs, a failed one, and one with a reused answer of an earlier run."""
    journal = JournalWriter(database)
    for owner, state in ((ME, "completed"), (OTHER_OWNER, "completed"), (ME, "failed")):
        run = make_run(owner=owner)
        shares = [replace(each, is_wasted=state == "failed") for each in (_AGENT, _REST)]
        shares[1] = replace(shares[1], is_wasted=False)  # the rows do not show it
        end = make_run_end(run, state=state, cost_usd=0.75, shares=shares)
        await journal.write(Batch([run], [make_agent_answer(run)], endings=[end]))
    run = make_run()
    answer = make_agent_answer(run)
    reused = replace(answer, report=replace(answer.report, reused=True))
    rest = UsageShare(agent="", model="", usage=Usage(10, 20), cost_usd=0.25)
    end = make_run_end(run, shares=[rest])
    await journal.write(Batch([run], [reused], endings=[end]))
    await journal.write(Batch(openings=[make_run()]))  # is running


async def _read(database: Database) -> list[list[UsageGroup]]:
    usage = UsageStore(database)
    days = {"since": date(2026, 1, 1), "until": date(2026, 12, 31)}
    return [
        await usage.list_groups(UsageQuery(owner=owner, by=by, **days), 100)
        for owner in (ME, OTHER_OWNER, None)
        for by in ((), ("day", "ensemble"), ("agent", "model"), ("user",))
    ]


async def test_migrating_fills_the_sums_as_if_they_had_always_existed(database_url: str) -> None:
    await migrate(database_url)
    database = Database(database_url)
    await _store_runs(database)
    before = await _read(database)
    assert [each[0].sums.runs for each in (before[0], before[4], before[8])] == [3, 1, 4]
    await database.close()
    await migrate(database_url, "0014")
    await migrate(database_url)
    database = Database(database_url)
    assert await _read(database) == before
    await database.close()
