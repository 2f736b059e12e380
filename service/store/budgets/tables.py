"""The tables of budgets, and of the reservations that running runs hold.

Amounts are integers: tokens, or billionths of a US dollar. A past period's row is retained for some
weeks (`budgets.RETENTION`), so that a clock that goes back by hours finds it again.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Table

from service.store.column_types import CleanText, UTCTime
from service.store.schema import metadata

_KEY = ("rule_key", "subject", "unit", "period_start")

budgets = Table(
    "budgets",
    metadata,
    Column("rule_key", CleanText, primary_key=True),  # the rule's name and its period
    Column("subject", CleanText, primary_key=True),  # such as user:<id>
    Column("unit", CleanText, primary_key=True),  # tokens or nano_usd
    Column("period_start", UTCTime, primary_key=True),
    Column("period_end", UTCTime, nullable=False),
    Column("spent", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Index("ix_budgets_period_end", "period_end"),
)

# Not a child of the run: when a running run is deleted, its reservation must still be settled.
reservations = Table(
    "reservations",
    metadata,
    Column("run_id", CleanText, primary_key=True),
    Column("rule_key", CleanText, primary_key=True),
    Column("subject", CleanText, primary_key=True),
    Column("unit", CleanText, primary_key=True),
    Column("period_start", UTCTime, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("steps", CleanText, nullable=False),  # JSON: of each step the worst case by agent
    Column("created_at", UTCTime, nullable=False),
    ForeignKeyConstraint(_KEY, [f"budgets.{name}" for name in _KEY]),
    Index("ix_reservations_budget", *_KEY),
)
