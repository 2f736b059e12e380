"""The cache of evaluations: the stored run that has answered a request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "evaluation_cache",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column(
            "run_id",
            sa.Text,
            sa.ForeignKey("runs.id", ondelete="CASCADE", name="fk_evaluation_cache_run_id"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_evaluation_cache_run_id", "evaluation_cache", ["run_id"])
    op.create_index("ix_evaluation_cache_age", "evaluation_cache", ["owner", "created_at"])
    if op.get_bind().dialect.name == "postgresql":
        for statement in _POLICIES:
            op.get_bind().exec_driver_sql(statement)  # a colon is no parameter here


def downgrade() -> None:
    op.drop_table("evaluation_cache")


_POLICIES = (
    "ALTER TABLE evaluation_cache ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE evaluation_cache FORCE ROW LEVEL SECURITY",
    """
    CREATE POLICY rows_of_owner ON evaluation_cache
    USING (owner = (SELECT current_setting('app.owner', true)))
    """,
    """
    CREATE POLICY rows_of_all_owners ON evaluation_cache
    USING ((SELECT current_setting('app.all_owners', true)) = 'on')
    """,
)
