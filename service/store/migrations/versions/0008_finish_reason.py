"""The reason for the end of a run's answer, in OpenAI's words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("runs", sa.Column("finish_reason", sa.Text))


def downgrade() -> None:
    op.drop_column("runs", "finish_reason")
