"""Entries of the audit log, and the hash that chains them. No I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from service.store.column_types import replace_unstorable

AuditAction = Literal[
    "account.locked",
    "audit.lost",
    "budget.refused",
    "conversation.deleted",
    "credential.refused",
    "data.adopted",
    "ensembles.refused",
    "ensembles.reloaded",
    "invite.created",
    "invite.used",
    "key.changed",
    "key.created",
    "key.revoked",
    "key.rotated",
    "limit.hit",
    "limits.refused",
    "limits.reloaded",
    "login.failed",
    "login.succeeded",
    "logout",
    "password.changed",
    "service.started",
    "session.revoked",
    "user.changed",
    "user.created",
    "user.deleted",
    "user.registered",
]

AuditValue = str | int | float | bool | None | tuple[str, ...]

GENESIS_HASH = "0" * 64  # before the first row


def read_time() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A fact to append to the audit log: `actor` did `action` to `target`.

    `actor` and `target` are ids, never a secret or a text of a user.
    """

    action: AuditAction
    actor: str
    target: str = ""
    address: str = ""
    request_id: str = ""
    details: Mapping[str, AuditValue] = field(default_factory=dict)
    at: datetime = field(default_factory=read_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A row of the audit log. `details` is a JSON object as text, as it is stored."""

    number: int
    at: datetime
    actor: str
    action: str
    target: str
    address: str
    request_id: str
    details: str
    previous_hash: str
    hash: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the row with `details` as an object, for programs."""
        columns = {name: getattr(self, name) for name in self.__slots__}
        return {**columns, "at": self.at.isoformat(), "details": json.loads(self.details)}

    def calculate_hash(self) -> str:
        """Return the SHA-256 of all other columns, as 64 hex digits.

        It is that of a JSON array, in ASCII and without spaces, whose texts are unambiguous.
        """
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        texts = (self.actor, self.action, self.target, self.address, self.request_id, self.details)
        values = [self.number, at, *texts, self.previous_hash]
        encoded = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(encoded.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The number and the hash of the last row of the audit log."""

    number: int = 0
    hash: str = GENESIS_HASH


def chain(entry: AuditEntry, head: ChainHead) -> dict[str, object]:
    """Return the columns of the row that follows `head`."""
    details = json.dumps(dict(entry.details), ensure_ascii=True, sort_keys=True)
    row = AuditRow(
        number=head.number + 1,
        at=entry.at,
        actor=replace_unstorable(entry.actor),
        action=entry.action,
        target=replace_unstorable(entry.target),
        address=replace_unstorable(entry.address),
        request_id=replace_unstorable(entry.request_id),
        details=details,
        previous_hash=head.hash,
    )
    columns = {name: getattr(row, name) for name in AuditRow.__slots__}
    return {**columns, "hash": row.calculate_hash()}
