"""The table of the cache of evaluations.

A row refers to a stored run and is deleted with it: the run has the answer, the usage and the cost.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table

from service.store.column_types import CleanText, UTCTime
from service.store.schema import metadata

evaluation_cache = Table(
    "evaluation_cache",
    metadata,
    Column("owner", CleanText, primary_key=True),
    Column("key", CleanText, primary_key=True),  # a hash of all that the run sends to models
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UTCTime, nullable=False),
    Index("ix_evaluation_cache_age", "owner", "created_at"),
)
