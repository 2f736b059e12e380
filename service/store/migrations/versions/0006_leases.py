"""Heartbeats that are counted, attempts of runs, gaps in their events, and counted reader marks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("workers", sa.Column("beat", sa.Integer, nullable=False, server_default="0"))
    op.add_column("workers", sa.Column("lease_s", sa.Float))
    op.add_column("runs", sa.Column("attempt", sa.Integer, nullable=False, server_default="1"))
    op.add_column("runs", sa.Column("interrupted_at", sa.Integer))
    op.add_column("signals", sa.Column("watched", sa.Integer, nullable=False, server_default="0"))
    op.drop_column("signals", "watched_until")


def downgrade() -> None:
    op.add_column("signals", sa.Column("watched_until", sa.DateTime(timezone=True)))
    op.drop_column("signals", "watched")
    for column in ("interrupted_at", "attempt"):
        op.drop_column("runs", column)
    for column in ("lease_s", "beat"):
        op.drop_column("workers", column)
