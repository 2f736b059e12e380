"""The work of a commit with and without budgets: no transaction more, and no statement without."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Select, UpdateBase

from service.store.budgets.records import BudgetDemand, BudgetKey
from service.store.connections.prepared import Values
from service.store.connections.transaction import Transaction
from service.store.journal.batch import Batch
from service.store.scope import ALL_OWNERS
from tests._support.runs.store_records import NOW, Parts, make_run, make_run_end

DEMAND = BudgetDemand(
    key=BudgetKey("daily/day", "user:1", "tokens", NOW),
    limit=10_000,
    period_end=NOW + timedelta(days=1),
    steps=({"a": 100},),
)


class _Recorder:
    """A transaction that records its statements."""

    def __init__(self, transaction: Transaction, found: list[str]) -> None:
        self._transaction = transaction
        self._found = found

    def fetch_all(self, query: Select[Any], values: Values) -> Sequence[Any]:
        self._found.append(str(query))
        return self._transaction.fetch_all(query, values)

    def execute_many(self, statement: UpdateBase, rows: Sequence[Values]) -> None:
        if rows:
            self._found.append(str(statement))
        self._transaction.execute_many(statement, rows)


async def _record(parts: Parts, *batches: Batch) -> list[str]:
    """Write each batch in one transaction, and return the statements of all."""
    found: list[str] = []

    def write(batch: Batch, transaction: Transaction) -> None:
        parts.journal._write(batch, _Recorder(transaction, found))

    for batch in batches:
        await parts.database.transact(partial(write, batch), access=ALL_OWNERS)
    return found


async def test_a_commit_without_budgets_executes_no_statement_about_them(parts: Parts) -> None:
    runs = [make_run() for _ in range(5)]
    ended = Batch(endings=[make_run_end(run) for run in runs])
    found = await _record(parts, Batch(openings=runs), ended)
    assert len(found) > 2
    assert not [each for each in found if "budgets" in each or "reservations" in each]


async def test_reservations_and_settlements_are_a_part_of_the_commits_of_runs(
    parts: Parts,
) -> None:
    runs = [make_run(demands=[DEMAND]) for _ in range(5)]
    endings = [make_run_end(run, is_reserved=True) for run in runs]
    await parts.create_run(demands=[DEMAND])  # creates the budget
    found = await _record(parts, Batch(openings=runs), Batch(endings=endings))
    about_budgets = [each for each in found if "budgets" in each or "reservations" in each]
    # However many runs: read and lock both tables, set the budget, insert or delete reservations.
    assert 6 <= len(about_budgets) <= 8
