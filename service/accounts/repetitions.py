"""Entries of the audit log that repeat, counted per minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic

from service.store.audit.entries import AuditEntry, read_time

_WINDOW_S = 60.0
_MAX_KINDS = 200

_Kind = tuple[str, str, str, str]  # action, actor, target, address


@dataclass(slots=True)
class _Window:
    """A minute: the last entry in it, and how many followed the row that opened it."""

    ends_at_s: float
    last: AuditEntry
    count: int = 0


class Repetitions:
    """Counts entries of the same kind within a minute.

    The first one of a kind becomes a row at once. Those of the next minute become one row with
    their `count`, which opens the next minute. At most 200 kinds are counted at one time, the
    others together for each action, without actor, target and address.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._windows: dict[_Kind, _Window] = {}

    def admit(self, entry: AuditEntry) -> AuditEntry | None:
        """Count the entry; return it if it is the first of its kind, to become a row at once."""
        if _kind_of(entry) not in self._windows and len(self._windows) >= _MAX_KINDS:
            entry = replace(entry, actor="", target="", address="", request_id="", details={})
        window = self._windows.get(_kind_of(entry))
        if window is None:
            self._windows[_kind_of(entry)] = _Window(self._clock() + _WINDOW_S, entry)
            return entry
        window.last = entry
        window.count += 1
        return None

    def take_due(self) -> list[AuditEntry]:
        """Return the counts whose minute has passed."""
        now = self._clock()
        return list(self._take([k for k, each in self._windows.items() if each.ends_at_s <= now]))

    def take_all(self) -> list[AuditEntry]:
        """Return all counts."""
        return list(self._take(list(self._windows)))

    def _take(self, kinds: list[_Kind]) -> Iterator[AuditEntry]:
        for kind in kinds:
            window = self._windows.pop(kind)
            if window.count:
                self._windows[kind] = _Window(self._clock() + _WINDOW_S, window.last)
                details = {**window.last.details, "count": window.count}
                yield replace(window.last, details=details, at=read_time())


def _kind_of(entry: AuditEntry) -> _Kind:
    return entry.action, entry.actor, entry.target, entry.address
