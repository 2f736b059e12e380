"""The reasons why an answer is degraded, and the agents that are missing in it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_COLUMNS = ("degraded_by", "missing")


def upgrade() -> None:
    for column in _COLUMNS:
        op.add_column("runs", sa.Column(column, sa.Text))


def downgrade() -> None:
    for column in reversed(_COLUMNS):
        op.drop_column("runs", column)
