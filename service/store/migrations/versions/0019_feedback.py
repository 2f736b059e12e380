"""Ratings of answers and of agents. On PostgreSQL with the policies of migration 0013."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_POLICIES = (
    "ALTER TABLE feedback ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE feedback FORCE ROW LEVEL SECURITY",
    """
    CREATE POLICY rows_of_owner ON feedback
    USING (owner = (SELECT current_setting('app.owner', true)))
    """,
    """
    CREATE POLICY rows_of_all_owners ON feedback
    USING ((SELECT current_setting('app.all_owners', true)) = 'on')
    """,
)


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("thumb", sa.Text),
        sa.Column("comment", sa.Text),
        sa.Column("better", sa.Text),
        sa.Column("than", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("better_model", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "agent", name="pk_feedback"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_feedback_run_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_feedback_owner", "feedback", ["owner", "run_id"])
    if op.get_bind().dialect.name == "postgresql":
        for statement in _POLICIES:
            op.execute(statement)


def downgrade() -> None:
    op.drop_table("feedback")
