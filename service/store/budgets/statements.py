"""The SQL statements of budgets, which belong to no owner but to the subjects of rules.

A transaction locks reservations first, then budgets, each in the order of their keys, and before
any other row: so two of them cannot deadlock.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

from service.store.budgets.tables import budgets, reservations
from service.store.connections.urls import Dialect
from service.store.schema import runs

_INSERTS: dict[Dialect, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

KEY = ("rule_key", "subject", "unit", "period_start")
_BUDGET_KEY = tuple(budgets.c[name] for name in KEY)
_RESERVATION_KEY = (reservations.c.run_id, *(reservations.c[name] for name in KEY))

HELD = (
    sa.select(reservations)
    .where(reservations.c.run_id.in_(bindparam("ids", expanding=True)))
    .order_by(*_RESERVATION_KEY)
    .with_for_update()
)
BALANCES = sa.select(budgets).where(sa.tuple_(*_BUDGET_KEY).in_(bindparam("keys", expanding=True)))
LOCKED_BALANCES = BALANCES.order_by(*_BUDGET_KEY).with_for_update()
SET_BALANCE = (
    sa.update(budgets)
    .where(*(column == bindparam(f"of_{column.name}") for column in _BUDGET_KEY))
    .values(spent=bindparam("new_spent"), reserved=bindparam("new_reserved"))
)
SET_AMOUNT = (
    sa.update(reservations)
    .where(*(column == bindparam(f"of_{column.name}") for column in _RESERVATION_KEY))
    .values(amount=bindparam("new_amount"))
)
DELETE_HELD = sa.delete(reservations).where(reservations.c.run_id == bindparam("of_run"))

# Of runs that were deleted, or whose end was stored by a version without budgets.
ORPHANS = (
    sa.select(reservations.c.run_id)
    .where(
        reservations.c.created_at < bindparam("before"),
        ~sa.exists().where(runs.c.id == reservations.c.run_id, runs.c.state == "running"),
    )
    .distinct()
    .limit(200)
)
DELETE_PAST = sa.delete(budgets).where(
    budgets.c.period_end < bindparam("before"),
    ~sa.exists().where(*(reservations.c[name] == budgets.c[name] for name in KEY)),
)


class BudgetInserts:
    """INSERT statements that leave existing rows as they are."""

    def __init__(self, dialect: Dialect) -> None:
        self._insert = _INSERTS[dialect]
        self.budget = self._insert_new(budgets)
        self.reservation = self._insert_new(reservations)

    def _insert_new(self, table: Table) -> Any:
        return self._insert(table).on_conflict_do_nothing()
