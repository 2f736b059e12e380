"""The recording of a run: the times of its events, and its calls of models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("runs", sa.Column("recording", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("runs", "recording")
