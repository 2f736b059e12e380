"""Loads and stores a ledger within a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.store.budgets import statements as sql
from service.store.budgets.ledger import Ledger
from service.store.budgets.records import (
    Balance,
    BudgetDemand,
    BudgetKey,
    Reservation,
)
from service.store.connections.transaction import Transaction
from service.store.connections.urls import Dialect

_decode_steps = msgspec.json.Decoder(tuple[dict[str, int], ...]).decode


class LedgerAccess:
    """Loads the budgets that a transaction changes, locked until its end, and writes them back."""

    def __init__(self, dialect: Dialect) -> None:
        self._inserts = sql.BudgetInserts(dialect)

    def load(
        self,
        transaction: Transaction,
        run_ids: Collection[str],
        demands: Iterable[BudgetDemand] = (),
    ) -> Ledger:
        """Return the reservations of runs with their budgets, and those of `demands`.

        A budget that does not exist is created.
        """
        held = [_make_reservation(row) for row in _fetch(transaction, sql.HELD, ids=run_ids)]
        ends = {each.key: each.period_end for each in demands}
        keys = sorted({*ends, *(each.key for each in held)})
        balances = self._lock(transaction, keys)
        if missing := [key for key in keys if key not in balances]:
            rows = [{**_name(key), "period_end": ends[key], **_NOTHING} for key in missing]
            transaction.execute_many(self._inserts.budget, rows)
            balances |= self._lock(transaction, missing)
        return Ledger(balances, held)

    def store(self, transaction: Transaction, ledger: Ledger) -> None:
        """Write the changes of `ledger`."""
        changed = [
            {
                **_name(key, "of_"),
                "new_spent": ledger.balances[key].spent,
                "new_reserved": ledger.balances[key].reserved,
            }
            for key in sorted(ledger.changed)
        ]
        if changed:
            transaction.execute_many(sql.SET_BALANCE, changed)
        if ledger.created:
            now = datetime.now(UTC)
            rows = [_encode_reservation(each, now) for each in ledger.created]
            transaction.execute_many(self._inserts.reservation, rows)
        if ledger.settled:
            transaction.execute_many(sql.DELETE_HELD, [{"of_run": each} for each in ledger.settled])

    def store_amounts(self, transaction: Transaction, reservations: Iterable[Reservation]) -> None:
        """Write the amounts of extended reservations."""
        rows = [
            {"of_run_id": each.run_id, **_name(each.key, "of_"), "new_amount": each.amount}
            for each in reservations
        ]
        transaction.execute_many(sql.SET_AMOUNT, rows)

    def read_balances(
        self, transaction: Transaction, keys: Sequence[BudgetKey]
    ) -> Mapping[BudgetKey, Balance]:
        """Return the budgets that exist, without a lock."""
        return _make_balances(_fetch(transaction, sql.BALANCES, keys=keys))

    def _lock(
        self, transaction: Transaction, keys: Sequence[BudgetKey]
    ) -> dict[BudgetKey, Balance]:
        return _make_balances(_fetch(transaction, sql.LOCKED_BALANCES, keys=keys))


_NOTHING = {"spent": 0, "reserved": 0}


def _fetch(transaction: Transaction, statement: Any, **values: Collection[Any]) -> Sequence[Any]:
    (value,) = values.values()
    if not value:
        return []
    return transaction.fetch_all(statement, values)


def _make_key(row: Any) -> BudgetKey:
    return BudgetKey(row.rule_key, row.subject, row.unit, row.period_start)


def _make_balances(rows: Iterable[Any]) -> dict[BudgetKey, Balance]:
    return {_make_key(row): Balance(row.spent, row.reserved) for row in rows}


def _name(key: BudgetKey, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in zip(sql.KEY, key, strict=True)}


def _make_reservation(row: Any) -> Reservation:
    return Reservation(row.run_id, _make_key(row), row.amount, _decode_steps(row.steps))


def _encode_reservation(reservation: Reservation, now: datetime) -> Mapping[str, Any]:
    return {
        "run_id": reservation.run_id,
        **_name(reservation.key),
        "amount": reservation.amount,
        "steps": msgspec.json.encode(reservation.steps).decode(),
        "created_at": now,
    }
