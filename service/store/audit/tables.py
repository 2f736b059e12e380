"""The tables of the audit log. Triggers of the migration refuse every change of their rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, Row, Table

from service.store.audit.entries import AuditRow
from service.store.column_types import CleanText, UTCTime
from service.store.schema import metadata

# `number` counts from 1 without a gap. `hash` covers all other columns (see `entries.py`).
audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UTCTime, nullable=False),
    Column("actor", CleanText, nullable=False),
    Column("action", CleanText, nullable=False),
    Column("target", CleanText, nullable=False),
    Column("address", CleanText, nullable=False),
    Column("request_id", CleanText, nullable=False),
    Column("details", CleanText, nullable=False),  # a JSON object
    Column("previous_hash", CleanText, nullable=False),
    Column("hash", CleanText, nullable=False),
    Index("ix_audit_time", "at", "number"),
    Index("ix_audit_actor", "actor", "number"),
    Index("ix_audit_action", "action", "number"),
)

# One row: the number and the hash of the last row. Its lock makes the writers of all processes
# append one after the other, and it shows that rows at the end are missing.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", CleanText, nullable=False),
)


def make_row(row: Row[Any]) -> AuditRow:
    """Return the record of a row of `audit`."""
    return AuditRow(**{column.name: getattr(row, column.name) for column in audit.columns})
