"""The table of usage sums.

For each owner, and once more for all owners together (`ALL`), there are rows for each day and each
month, so that a year is the sum of few rows: one for each ensemble, agent and model, and with the
level of totals one for all of these together. Rows do not depend on the runs: a deleted
conversation has been paid for all the same.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Table

from service.store.column_types import CleanText
from service.store.schema import metadata

ALL: Final = "*"  # as owner: the sum of all owners; in a total: of all ensembles, agents, models
TOTALS: Final = {"day": "day_total", "month": "month_total"}  # the level of totals of each level

_SUMS = (
    "runs", "calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    "cost_nano", "wasted_nano", "unpriced",
)  # fmt: skip

# The order of the key: a query reads one range of it.
usage_sums = Table(
    "usage_sums",
    metadata,
    Column("level", CleanText, primary_key=True),  # day, month, or one of TOTALS
    Column("owner", CleanText, primary_key=True),
    Column("period", CleanText, primary_key=True),  # 2026-11-26 or 2026-11, in UTC
    Column("key_id", CleanText, primary_key=True),  # of the API key, "" without one
    Column("ensemble", CleanText, primary_key=True),  # ALL in a total, as agent and model
    Column("agent", CleanText, primary_key=True),  # "": the run itself
    Column("model", CleanText, primary_key=True),
    # The process that maintains the row: processes that share rows would wait for each other.
    Column("writer", CleanText, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in _SUMS),
    Index("ix_usage_sums_period", "level", "period"),
)
