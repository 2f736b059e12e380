"""Detection of a SQLite file that was deleted, moved or replaced while it is open.

SQLite does not notice it: open connections write to a file without a name, and new ones to another
file. Source: https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from service.errors import StorageUnavailable
from service.store.revisions import describe_mismatch

_log = logging.getLogger(__name__)

_FILE_FAULT = (
    "The database file was deleted, moved or replaced while the service was running; "
    "put the same file back, or restart the service."
)
_LOG_FAULT = (
    "The write-ahead log of the database file was deleted while the service was running; "
    "restart the service."
)

_Identity = tuple[int, int]  # device and inode


class OpenedFile:
    """The database file and its companions `-wal` and `-shm`, as this process opened them.

    The companions exist while a connection is open, and the last one to be closed deletes them.
    So their identities are valid only as long as the connection for writing is open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._companions = [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")]
        self._identity: _Identity | None = None
        self._companion_identities: list[_Identity | None] | None = None
        self._is_faulty = False

    def note_opened(self) -> None:
        """Remember which file the first connection has opened."""
        self._identity = self._identity or _identify(self._path)

    def note_written(self) -> None:
        """Remember the companions that the connection for writing has opened."""
        if self._companion_identities is None:
            self._companion_identities = [_identify(each) for each in self._companions]

    def forget_companions(self) -> None:
        """Forget the companions, since the connection for writing is closed."""
        self._companion_identities = None

    def find_fault(self) -> StorageUnavailable | None:
        """Return the error for a file that is no longer the opened one; it takes 5 µs."""
        if self._identity is None:
            return self._find_absence()
        sentence = self._describe_fault()
        if bool(sentence) != self._is_faulty:
            self._is_faulty = bool(sentence)
            report: Callable[..., None] = _log.error if sentence else _log.warning
            report("%s: %s", self._path, sentence or "the database file is in its place again")
        return StorageUnavailable(sentence, reason="down") if sentence else None

    def _find_absence(self) -> StorageUnavailable | None:
        """Return the error for a file that does not exist yet, in a folder that does."""
        if self._path.exists() or not self._path.parent.is_dir():
            return None
        return StorageUnavailable(str(describe_mismatch(None)), reason="schema")

    def _describe_fault(self) -> str | None:
        if _identify(self._path) != self._identity:
            return _FILE_FAULT
        known = self._companion_identities
        if known is not None and [_identify(each) for each in self._companions] != known:
            return _LOG_FAULT
        return None


def _identify(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
