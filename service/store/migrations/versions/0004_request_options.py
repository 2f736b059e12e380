"""Adds columns for data other than text: images, tool calls, options, the user of a session."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ADDED = (
    ("conversations", "user_id"),
    ("messages", "whole"),
    ("runs", "whole"),
    ("runs", "particulars"),
    ("runs", "tool_calls"),
)
_INDEX = "ix_conversations_user"


def upgrade() -> None:
    for table, column in _ADDED:
        op.add_column(table, sa.Column(column, sa.Text))
    op.create_index(_INDEX, "conversations", ["owner", "user_id", "updated_at", "id"])


def downgrade() -> None:
    op.drop_index(_INDEX, "conversations")
    for table, column in reversed(_ADDED):
        op.drop_column(table, column)
