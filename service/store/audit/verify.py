"""Verification of the audit log: changed, missing, inserted and reordered rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.audit.entries import AuditRow, ChainHead
from service.store.audit.tables import audit, audit_head, make_row

_ROWS_PER_QUERY = 1_000
_MAX_FAULTS = 100  # that a report lists

_LOWEST_NUMBER = -(2**63)

FaultKind = Literal[
    "changed", "missing", "inserted", "broken_link", "end_missing", "beyond_end", "unknown_hash"
]

_SENTENCES: dict[FaultKind, str] = {
    "changed": "Row {} was changed: its hash is not that of its columns.",
    "missing": "Rows are missing before row {}.",
    "inserted": "Row {} was inserted before the first one.",
    "broken_link": "Row {} does not follow the row before it: it names another hash.",
    "end_missing": "The log ends with row {}, and later rows are missing.",
    "beyond_end": "Row {} was added behind the end of the log, or the end was changed.",
    "unknown_hash": "No row has the hash that was given, so the log was rewritten; it has {} rows.",
}


@dataclass(frozen=True, slots=True)
class AuditFault:
    """A fault of the log at row `number`."""

    kind: FaultKind
    number: int

    @property
    def sentence(self) -> str:
        return _SENTENCES[self.kind].format(self.number)


@dataclass(slots=True)
class AuditReport:
    """The result of a verification: the end of the log, its number of rows, and its faults."""

    head: ChainHead = field(default_factory=ChainHead)
    rows: int = 0
    faults: list[AuditFault] = field(default_factory=list)

    def add(self, row: AuditRow) -> None:
        """Check the row that follows the last one."""
        if len(self.faults) < _MAX_FAULTS:
            self.faults += _check(row, self.head)
        self.rows += 1
        if row.number > 0:
            self.head = ChainHead(row.number, row.hash)


async def verify_chain(since: str | None, connection: AsyncConnection) -> AuditReport:
    """Return the faults of the log, about 100 at most.

    `since` is a hash that an earlier report printed: if no row has it any more, the log was
    rewritten as a whole, which the chain alone cannot show.
    """
    report = AuditReport()
    is_known = since is None or since == report.head.hash
    number = _LOWEST_NUMBER
    while rows := await _read_after(number, connection):
        for row in rows:
            report.add(row)
            is_known = is_known or row.hash == since
        number = rows[-1].number
    report.faults += await _check_end(report.head, connection)
    if not is_known:
        report.faults.append(AuditFault("unknown_hash", report.rows))
    return report


async def _read_after(number: int, connection: AsyncConnection) -> Sequence[AuditRow]:
    query = sa.select(audit).where(audit.c.number > number).order_by(audit.c.number)
    rows = await connection.execute(query.limit(_ROWS_PER_QUERY))
    return [make_row(row) for row in rows]


def _check(row: AuditRow, head: ChainHead) -> Iterator[AuditFault]:
    if row.number < 1:
        yield AuditFault("inserted", row.number)
    elif row.number != head.number + 1:
        yield AuditFault("missing", row.number)
    elif row.previous_hash != head.hash:
        yield AuditFault("broken_link", row.number)
    if row.calculate_hash() != row.hash:
        yield AuditFault("changed", row.number)


async def _check_end(last: ChainHead, connection: AsyncConnection) -> Sequence[AuditFault]:
    row = (await connection.execute(sa.select(audit_head).where(audit_head.c.id == 1))).first()
    stored = ChainHead(row.number, row.hash) if row else None
    if stored == last:
        return ()
    is_cut = stored is not None and stored.number > last.number
    return [AuditFault("end_missing" if is_cut else "beyond_end", last.number)]
