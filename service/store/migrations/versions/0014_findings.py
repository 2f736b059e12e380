"""The findings of a run's strategy as JSON: analysis, votes, ranking, gate and provenance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("runs", sa.Column("findings", sa.Text))


def downgrade() -> None:
    op.drop_column("runs", "findings")
