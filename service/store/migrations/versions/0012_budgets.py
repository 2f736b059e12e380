"""Budgets in tokens and money, and the reservations that running runs hold."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_KEY = ("rule_key", "subject", "unit", "period_start")


def upgrade() -> None:
    op.create_table(
        "budgets",
        *_key(),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_budgets_period_end", "budgets", ["period_end"])
    op.create_table(
        "reservations",
        sa.Column("run_id", sa.Text, primary_key=True),
        *_key(),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            _KEY,
            [f"budgets.{name}" for name in _KEY],
            name="fk_reservations_rule_key_subject_unit_period_start",
        ),
    )
    op.create_index("ix_reservations_budget", "reservations", list(_KEY))


def downgrade() -> None:
    op.drop_table("reservations")
    op.drop_table("budgets")


def _key() -> list[sa.Column[Any]]:
    kinds = {"period_start": sa.DateTime(timezone=True)}
    return [sa.Column(name, kinds.get(name, sa.Text()), primary_key=True) for name in _KEY]
