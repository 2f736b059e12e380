"""The work of a commit with and without budgets: no transaction more, and no statement without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import event

from service.store.budgets.records import BudgetDemand, BudgetKey
from service.store.journal.batch import Batch
from tests._support.runs.store_records import NOW, Parts, make_run, make_run_end

DEMAND = BudgetDemand(
    key=BudgetKey("daily/day", "user:1", "tokens", NOW),
    limit=10_000,
    period_end=NOW + timedelta(days=1),
    steps=({"a": 100},),
)


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Record the statements and commits of all connections while the block lasts."""
    found: list[str] = []

    def on_execute(*arguments: object) -> None:
        found.append(str(arguments[2]))

    def on_commit(*_: object) -> None:
        found.append("COMMIT")

    event.listen(sa.Engine, "before_cursor_execute", on_execute)
    event.listen(sa.Engine, "commit", on_commit)
    try:
        yield found
    finally:
        event.remove(sa.Engine, "before_cursor_execute", on_execute)
        event.remove(sa.Engine, "commit", on_commit)


async def test_a_commit_without_budgets_executes_no_statement_about_them(parts: Parts) -> None:
    runs = [make_run() for _ in range(5)]
    with recorded() as found:
        await parts.journal.write(Batch(openings=runs))
        await parts.journal.write(Batch(endings=[make_run_end(run) for run in runs]))
    assert len(found) > 2
    assert not [each for each in found if "budgets" in each or "reservations" in each]


async def test_reservations_and_settlements_are_a_part_of_the_commits_of_runs(
    parts: Parts,
) -> None:
    runs = [make_run(demands=[DEMAND]) for _ in range(5)]
    endings = [make_run_end(run, is_reserved=True) for run in runs]
    await parts.create_run(demands=[DEMAND])  # creates the budget
    with recorded() as found:
        await parts.journal.write(Batch(openings=runs))
        await parts.journal.write(Batch(endings=endings))
    assert found.count("COMMIT") == 2
    about_budgets = [each for each in found if "budgets" in each or "reservations" in each]
    # However many runs: read and lock both tables, set the budget, insert or delete reservations.
    assert len(about_budgets) <= 8
