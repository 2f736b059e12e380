"""A budget for all runs of an installation, and its state in the database."""

from __future__ import annotations

from dataclasses import dataclass

from service.store.budgets.tables import budgets, reservations
from service.store.database import Database
from service.store.schema import runs
from tests._support.clients.api import until
from tests._support.patience import PATIENCE_S
from tests._support.recovery.installation import Installation
from tests._support.runs.stored_rows import select_rows


@dataclass(frozen=True)
class BudgetTotals:
    """The spent and reserved amounts of all budgets, and the tokens of all stored runs."""

    spent: int
    reserved: int
    stored_tokens: int
    interrupted: int


def set_budget(installation: Installation, limit: str = 'tokens = "1000000000/month"') -> None:
    """Give the services of an installation a budget that all their callers share."""
    file = installation.folder / "limits.toml"
    file.write_text(f'[[rules]]\nname = "all"\n{limit}\n')
    installation.settings["LIMITS_FILE"] = str(file)


async def wait_for_settlement(database_url: str) -> BudgetTotals:
    """Wait until no run has a reservation; return the totals."""
    database = Database(database_url, timeout_s=PATIENCE_S)

    async def is_settled() -> bool:
        return not await select_rows(database, reservations.c.run_id)

    try:
        await until(is_settled)
        rows = await select_rows(database, budgets.c.spent, budgets.c.reserved)
        stored = await select_rows(
            database, runs.c.input_tokens, runs.c.output_tokens, runs.c.state
        )
    finally:
        await database.close()
    return BudgetTotals(
        spent=sum(int(str(spent)) for spent, _ in rows),
        reserved=sum(int(str(reserved)) for _, reserved in rows),
        stored_tokens=sum(int(str(sent)) + int(str(received)) for sent, received, _ in stored),
        interrupted=sum(state == "interrupted" for *_, state in stored),
    )
