"""The audit log for the rest of the service: entries about a caller, and a queue for them.

An entry about a change belongs in the transaction of the change (`service.store.audit.log.append`).
All others are queued: they delay no request, and are committed within a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from service.access.principal import Principal
from service.accounts.repetitions import Repetitions
from service.errors import StorageUnavailable
from service.store.audit.entries import AuditAction, AuditEntry, AuditValue
from service.store.audit.log import AuditLog
from telemetry import current_request
from telemetry.logs import redact

SYSTEM: Final = "system"  # the actor of changes that no caller made

_FLUSH_EVERY_S = 0.5
_RETRY_AFTER_S = 2.0
_ROWS_PER_COMMIT = 500
_MAX_QUEUED = 10_000
_MAX_CHARS = 200  # of a text in an entry
# A client can cause these as often as it likes, so they are counted per minute.
_REPEATED: frozenset[AuditAction] = frozenset(
    {"budget.refused", "credential.refused", "limit.hit", "login.failed"}
)

_log = logging.getLogger(__name__)


def make_entry(
    action: AuditAction, by: Principal | str, target: str = "", **details: AuditValue
) -> AuditEntry:
    """Return an entry about what the caller `by` did to the id `target`.

    Its address and request id are those of the current request. `target` and `details` must not
    hold text that a caller typed, except where it is valid: a password may be in the wrong field.
    Texts are cut at 200 characters, and what looks like a key is redacted.
    """
    request = current_request()
    return AuditEntry(
        action=action,
        actor=_clean(by if isinstance(by, str) else name_actor(by)),
        target=_clean(target),
        address="" if isinstance(by, str) else by.address,
        request_id=request.request_id if request else "",
        details=_clean_details(details),
    )


def name_actor(principal: Principal) -> str:
    """Return the actor of a caller's entries: the name of a user, or the kind of the caller."""
    if principal.user is not None:
        return principal.user
    if principal.method in ("anonymous", "static_key"):
        return principal.method
    return principal.owner


class Audit:
    """Queues entries and appends them to the log in their order.

    The queue is bounded: when the database is away for so long that it is full, further entries
    are counted, and their number becomes an entry `audit.lost`.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._queue: deque[AuditEntry] = deque()
        self._repetitions = Repetitions()
        self._lost = 0
        self._is_failing = False

    def record(
        self, action: AuditAction, by: Principal | str, target: str = "", **details: AuditValue
    ) -> None:
        """Queue an entry (see `make_entry`).

        Refusals and failed logins that repeat are counted: each actor, target and address has one
        row per minute.
        """
        entry: AuditEntry | None = make_entry(action, by, target, **details)
        if entry and action in _REPEATED:
            entry = self._repetitions.admit(entry)
        if entry:
            self._put(entry)

    async def run(self) -> None:
        """Append queued entries until cancelled."""
        while True:
            await asyncio.sleep(_FLUSH_EVERY_S)
            try:
                await self.flush()
            except StorageUnavailable as error:
                self._report_failure(error)
                await asyncio.sleep(_RETRY_AFTER_S)

    async def flush(self) -> None:
        """Append all queued entries. Raises StorageUnavailable; the entries stay in the queue."""
        for entry in self._repetitions.take_due():
            self._put(entry)
        while self._queue:
            # A caller that is cancelled leaves the commit running, so the entries leave the queue.
            part = [self._queue.popleft() for _ in range(min(len(self._queue), _ROWS_PER_COMMIT))]
            try:
                await self._log.append(part)
            except StorageUnavailable:
                self._queue.extendleft(reversed(part))
                raise
            self._is_failing = False
        if self._lost:
            lost, self._lost = self._lost, 0
            self._put(make_entry("audit.lost", SYSTEM, count=lost))

    async def close(self) -> None:
        """Append all entries, also counts whose minute has not passed."""
        for entry in self._repetitions.take_all():
            self._put(entry)
        with suppress(StorageUnavailable):
            await self.flush()
        if self._queue:
            _log.error("%d entries of the audit log are lost", len(self._queue))

    def _put(self, entry: AuditEntry) -> None:
        if len(self._queue) < _MAX_QUEUED:
            self._queue.append(entry)
        else:
            self._lost += 1

    def _report_failure(self, error: StorageUnavailable) -> None:
        if not self._is_failing:
            self._is_failing = True
            _log.warning("the audit log cannot be written, its entries wait: %s", error)


def _clean_details(details: Mapping[str, AuditValue]) -> Mapping[str, AuditValue]:
    return {name: _clean_value(value) for name, value in details.items()}


def _clean_value(value: AuditValue) -> AuditValue:
    if isinstance(value, tuple):
        return tuple(map(_clean, value))
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    return redact(text)[:_MAX_CHARS]
