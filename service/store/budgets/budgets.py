"""Budgets outside of the journal: extensions of running runs, remaining amounts, maintenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.budgets import statements as sql
from service.store.budgets.access import LedgerAccess
from service.store.budgets.records import (
    BudgetDemand,
    BudgetShortage,
    BudgetState,
    BudgetUnit,
    Interruption,
)
from service.store.database import Database
from service.store.scope import ALL_OWNERS

# A clock that goes back by less finds the same rows again, and opens no past budget anew.
RETENTION = timedelta(days=35)
_ORPHANED_AFTER = timedelta(days=2)  # longer than any run takes


class Budgets:
    """The budgets of one database. Every method raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._access = LedgerAccess(database.dialect)

    async def extend(
        self, run_id: str, demands: Sequence[BudgetDemand], more: Mapping[BudgetUnit, int]
    ) -> BudgetShortage | None:
        """Reserve more for a running run, in one step from all its budgets; return a shortage.

        Raises KeyError when the run has no reservation: another process has ended the run.
        """
        work = partial(self._extend, run_id, demands, more)
        return await self._database.write(work, "reserve", ALL_OWNERS)

    async def read(self, states: Sequence[BudgetState]) -> list[BudgetState]:
        """Return `states` with what is spent and reserved now. Reserves nothing."""

        async def work(connection: AsyncConnection) -> list[BudgetState]:
            found = await self._access.read_balances(connection, [each.key for each in states])
            return [
                replace(each, spent=balance.spent, reserved=balance.reserved)
                if (balance := found.get(each.key))
                else each
                for each in states
            ]

        return await self._database.read(work) if states else []

    async def tidy(self, now: datetime) -> None:
        """Delete the budgets of periods long past, and settle reservations of deleted runs."""
        await self._database.write(partial(self._tidy, now), access=ALL_OWNERS)

    async def _extend(
        self,
        run_id: str,
        demands: Sequence[BudgetDemand],
        more: Mapping[BudgetUnit, int],
        connection: AsyncConnection,
    ) -> BudgetShortage | None:
        ledger = await self._access.load(connection, [run_id])
        shortage = ledger.extend(run_id, demands, more)
        if shortage is None:
            await self._access.store(connection, ledger)
            await self._access.store_amounts(connection, ledger.held[run_id])
        return shortage

    async def _tidy(self, now: datetime, connection: AsyncConnection) -> None:
        orphans = await connection.scalars(sql.ORPHANS, {"before": now - _ORPHANED_AFTER})
        if run_ids := list(orphans):
            ledger = await self._access.load(connection, run_ids)
            for run_id in run_ids:
                ledger.settle(run_id, {}, Interruption(is_complete=False))
            await self._access.store(connection, ledger)
        await connection.execute(sql.DELETE_PAST, {"before": now - RETENTION})
