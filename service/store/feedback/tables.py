"""The table of feedback. A rating is deleted and transferred with its run."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Table

from service.store.column_types import CleanText, UTCTime
from service.store.schema import metadata

feedback = Table(
    "feedback",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("agent", CleanText, primary_key=True),  # "": the answer of the run
    Column("owner", CleanText, nullable=False),
    Column("score", Float),  # 0 to 1
    Column("thumb", CleanText),  # up or down
    Column("comment", CleanText),
    Column("better", CleanText),  # the agent whose answer was better
    Column("than", CleanText),  # the agent that it was better than; NULL: the answer of the run
    # Models at the time of the run, for sums by model: reports of agents are JSON.
    Column("model", CleanText, nullable=False),  # of `agent`, "" without one
    Column("better_model", CleanText, nullable=False),  # of `better`, "" without one
    Column("created_at", UTCTime, nullable=False),
    Column("updated_at", UTCTime, nullable=False),
    Index("ix_feedback_owner", "owner", "run_id"),
)
