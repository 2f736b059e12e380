"""Racing fan-outs against one budget: never more than its limit, and then the rest of it."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from service.domain import Usage
from service.store.budgets.budgets import Budgets
from service.store.budgets.records import BudgetDemand, BudgetGrant, BudgetKey, BudgetState
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import NewRun
from tests._support.runs.store_records import make_run, make_run_end

RUNS = round(500 * float(os.environ.get("KILL_ROUNDS", "1")))
BATCH = 20  # openings in a commit
WORST = ({"a": 500, "b": 500}, {"combine": 500})
WORST_TOKENS = 1_500
DAY = datetime(2026, 3, 14, tzinfo=UTC)
KEY = BudgetKey("small/day", "user:1", "tokens", DAY)
LIMIT = WORST_TOKENS * RUNS // 6  # for a third of the runs, whose usage is half of their worst case


@dataclass
class Campaign:
    """Requests of several processes against one budget, and what their models have used."""

    left: int = RUNS
    used: int = 0
    refused: int = 0
    highest: int = 0
    open: list[NewRun] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(5))

    async def run_process(self, database: Database) -> None:
        """Commit openings and ends together, as a journal does, until no request is left."""
        journal, mine = JournalWriter(database), list[NewRun]()
        while self.left or mine:
            count = min(BATCH, self.left)
            self.left -= count
            demand = BudgetDemand(
                key=KEY, limit=LIMIT, period_end=DAY + timedelta(days=1), steps=WORST
            )
            openings = [make_run(demands=[demand]) for _ in range(count)]
            usages = [(run, Usage(0, self.dice.randrange(0, WORST_TOKENS))) for run in mine]
            endings = [make_run_end(run, usage=each, is_reserved=True) for run, each in usages]
            written = await journal.write(Batch(openings=openings, endings=endings))
            self.used += sum(each.total_tokens for _, each in usages)
            results = [(run, written.get_result(run.run_id)) for run in openings]
            mine = [run for run, result in results if isinstance(result, BudgetGrant)]
            self.refused += count - len(mine)
            state = await read(database)
            self.highest = max(self.highest, state.spent + state.reserved)

    async def use_up(self, database: Database) -> None:
        """Request one run after the other until the budget refuses one.

        While others hold reservations, the number of refused requests depends on the machine.
        """
        refused = self.refused
        while self.refused == refused:
            self.left = 1
            await self.run_process(database)


async def read(database: Database) -> BudgetState:
    state = BudgetState(key=KEY, limit=LIMIT, period_end=DAY + timedelta(days=1))
    (found,) = await Budgets(database).read([state])
    return found


@pytest.fixture
def store_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.mark.parametrize("store_kind", ["sqlite", "postgresql"], indirect=True)
async def test_racing_fan_outs_use_a_budget_and_never_exceed_it(ready_url: str) -> None:
    campaign = Campaign()
    databases = [Database(ready_url, timeout_s=60) for _ in range(3)]
    await asyncio.gather(*(campaign.run_process(each) for each in databases))
    assert campaign.refused > RUNS / 4
    await campaign.use_up(databases[0])
    state = await read(databases[0])
    for each in databases:
        await each.close()
    assert campaign.highest <= LIMIT
    assert (state.spent, state.reserved) == (campaign.used, 0)
    assert state.spent > LIMIT - WORST_TOKENS
