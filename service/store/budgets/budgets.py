"""Budgets outside of the journal: extensions of running runs, remaining amounts, maintenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from service.store.budgets import statements as sql
from service.store.budgets.access import LedgerAccess
from service.store.budgets.records import (
    BudgetDemand,
    BudgetShortage,
    BudgetState,
    BudgetUnit,
    Interruption,
)
from service.store.connections.transaction import SqlAlchemyTransaction, Transaction
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
        return await self._database.transact(work, "reserve", ALL_OWNERS)

    async def read(self, states: Sequence[BudgetState]) -> list[BudgetState]:
        """Return `states` with what is spent and reserved now. Reserves nothing."""

        def work(connection: Connection) -> list[BudgetState]:
            transaction = SqlAlchemyTransaction(connection)
            found = self._access.read_balances(transaction, [each.key for each in states])
            return [
                replace(each, spent=balance.spent, reserved=balance.reserved)
                if (balance := found.get(each.key))
                else each
                for each in states
            ]

        if not states:
            return []
        return await self._database.read(lambda connection: connection.run_sync(work))

    async def tidy(self, now: datetime) -> None:
        """Delete the budgets of periods long past, and settle reservations of deleted runs."""
        await self._database.transact(partial(self._tidy, now), access=ALL_OWNERS)

    def _extend(
        self,
        run_id: str,
        demands: Sequence[BudgetDemand],
        more: Mapping[BudgetUnit, int],
        transaction: Transaction,
    ) -> BudgetShortage | None:
        ledger = self._access.load(transaction, [run_id])
        shortage = ledger.extend(run_id, demands, more)
        if shortage is None:
            self._access.store(transaction, ledger)
            self._access.store_amounts(transaction, ledger.held[run_id])
        return shortage

    def _tidy(self, now: datetime, transaction: Transaction) -> None:
        orphans = transaction.fetch_all(sql.ORPHANS, {"before": now - _ORPHANED_AFTER})
        if run_ids := [row.run_id for row in orphans]:
            ledger = self._access.load(transaction, run_ids)
            for run_id in run_ids:
                ledger.settle(run_id, {}, Interruption(is_complete=False))
            self._access.store(transaction, ledger)
        transaction.execute_many(sql.DELETE_PAST, [{"before": now - RETENTION}])
