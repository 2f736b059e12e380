"""Loads and stores a ledger within a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.budgets import statements as sql
from service.store.budgets.ledger import Ledger
from service.store.budgets.records import (
    Balance,
    BudgetDemand,
    BudgetKey,
    Reservation,
)
from service.store.connections.urls import Dialect

_decode_steps = msgspec.json.Decoder(tuple[dict[str, int], ...]).decode


class LedgerAccess:
    """Loads the budgets that a transaction changes, locked until its end, and writes them back."""

    def __init__(self, dialect: Dialect) -> None:
        self._inserts = sql.BudgetInserts(dialect)

    async def load(
        self,
        connection: AsyncConnection,
        run_ids: Collection[str],
        demands: Iterable[BudgetDemand] = (),
    ) -> Ledger:
        """Return the reservations of runs with their budgets, and those of `demands`.

        A budget that does not exist is created.
        """
        held = [_make_reservation(row) for row in await _fetch(connection, sql.HELD, ids=run_ids)]
        ends = {each.key: each.period_end for each in demands}
        keys = sorted({*ends, *(each.key for each in held)})
        balances = await self._lock(connection, keys)
        if missing := [key for key in keys if key not in balances]:
            rows = [{**_name(key), "period_end": ends[key], **_NOTHING} for key in missing]
            await connection.execute(self._inserts.budget, rows)
            balances |= await self._lock(connection, missing)
        return Ledger(balances, held)

    async def store(self, connection: AsyncConnection, ledger: Ledger) -> None:
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
            await connection.execute(sql.SET_BALANCE, changed)
        if ledger.created:
            now = datetime.now(UTC)
            rows = [_encode_reservation(each, now) for each in ledger.created]
            await connection.execute(self._inserts.reservation, rows)
        if ledger.settled:
            await connection.execute(sql.DELETE_HELD, [{"of_run": each} for each in ledger.settled])

    async def store_amounts(
        self, connection: AsyncConnection, reservations: Iterable[Reservation]
    ) -> None:
        """Write the amounts of extended reservations."""
        rows = [
            {"of_run_id": each.run_id, **_name(each.key, "of_"), "new_amount": each.amount}
            for each in reservations
        ]
        await connection.execute(sql.SET_AMOUNT, rows)

    async def read_balances(
        self, connection: AsyncConnection, keys: Sequence[BudgetKey]
    ) -> Mapping[BudgetKey, Balance]:
        """Return the budgets that exist, without a lock."""
        return _make_balances(await _fetch(connection, sql.BALANCES, keys=keys))

    async def _lock(
        self, connection: AsyncConnection, keys: Sequence[BudgetKey]
    ) -> dict[BudgetKey, Balance]:
        return _make_balances(await _fetch(connection, sql.LOCKED_BALANCES, keys=keys))


_NOTHING = {"spent": 0, "reserved": 0}


async def _fetch(
    connection: AsyncConnection, statement: Any, **values: Collection[Any]
) -> Sequence[Row[Any]]:
    (value,) = values.values()
    if not value:
        return []
    return (await connection.execute(statement, values)).all()


def _make_key(row: Row[Any]) -> BudgetKey:
    return BudgetKey(row.rule_key, row.subject, row.unit, row.period_start)


def _make_balances(rows: Iterable[Row[Any]]) -> dict[BudgetKey, Balance]:
    return {_make_key(row): Balance(row.spent, row.reserved) for row in rows}


def _name(key: BudgetKey, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in zip(sql.KEY, key, strict=True)}


def _make_reservation(row: Row[Any]) -> Reservation:
    return Reservation(row.run_id, _make_key(row), row.amount, _decode_steps(row.steps))


def _encode_reservation(reservation: Reservation, now: datetime) -> Mapping[str, Any]:
    return {
        "run_id": reservation.run_id,
        **_name(reservation.key),
        "amount": reservation.amount,
        "steps": msgspec.json.encode(reservation.steps).decode(),
        "created_at": now,
    }
