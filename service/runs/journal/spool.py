"""What a process has shown and not yet committed, in files of its own.

A line written here survives the process, though not the machine: it is in the kernel's page
cache. So it costs a system call and no wait for a disk, and `kill -9` loses nothing that a client
has seen. Two files take turns: one is written while what is in the other is being committed.

The lock on a third tells whether its process lives: the kernel lets go of it when that ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

_LOCK, _UNHELD, _SLOTS = ".lock", ".unheld", (".a", ".b")
_LINE = re.compile(rb"^(?P<run>[A-Za-z0-9_]+) (?P<seq>\d+) (?P<events>\[.*\])\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Spooled:
    """Events of a run from `first_seq` on, as `event_lines` has them."""

    run_id: str
    first_seq: int
    line: bytes


class Spool:
    """The files of one process. What cannot be written it does without, and says so once."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._folder = folder
        self._worker_id = worker_id
        self._lock: int | None = None
        self._slots: list[int] = []
        self._sizes = [0, 0]
        self._has_complained = False
        self._current = 0
        self._other_is_free = True

    def open(self) -> None:
        """Make the files and take the lock."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._make_lock()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._slots = [os.open(self._path(slot), flags, 0o600) for slot in _SLOTS]
        except OSError as error:
            self._complain(error)

    def write(self, entries: Iterable[Spooled]) -> None:
        """Note `entries` before anybody is shown them."""
        if not self._slots:
            return
        block = b"".join(
            b"%s %d %s\n" % (each.run_id.encode(), each.first_seq, each.line) for each in entries
        )
        slot = self._slots[self._current]
        try:
            if os.write(slot, block) < len(block):
                raise OSError("the disk is full")
        except OSError as error:
            self._complain(error)
            self._cut(self._current, self._sizes[self._current])  # nothing may follow half a line
        else:
            self._sizes[self._current] += len(block)

    def switch(self) -> None:
        """Write to the other file from here on, if nothing in it is still needed."""
        if self._slots and self._other_is_free:
            self._current = 1 - self._current
            self._other_is_free = False

    def clear_committed(self) -> None:
        """Empty the file that is not being written: all that was in it is in the database."""
        self._other_is_free = True
        if self._slots:
            self._cut(1 - self._current, 0)

    def close(self) -> None:
        """Remove the files. Only when everything has been committed."""
        for slot in self._slots:
            os.close(slot)
        self._slots = []
        if self._lock is not None:
            remove(self._folder, self._worker_id)
            os.close(self._lock)
            self._lock = None

    def abandon(self) -> None:
        """Let go of the files but leave them for whoever starts next."""
        for fd in (*self._slots, *([] if self._lock is None else [self._lock])):
            os.close(fd)
        self._slots, self._lock = [], None

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._worker_id}{suffix}"

    def _make_lock(self) -> int:
        # Under its name it is held from the first moment: one that is free means a dead process.
        unheld = self._path(_UNHELD)
        lock = os.open(unheld, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.link(unheld, self._path(_LOCK))
        except OSError:
            os.close(lock)
            raise
        finally:
            unheld.unlink()
        return lock

    def _cut(self, slot: int, size: int) -> None:
        self._sizes[slot] = size
        try:
            os.ftruncate(self._slots[slot], size)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if self._has_complained:
            return
        self._has_complained = True
        _log.warning(
            "cannot write to %s (%s): after a crash the last quarter of a second may be missing",
            self._folder,
            error.strerror or error,
        )


class Orphan:
    """The files of a process that has ended; held by us, so that only one process reads them."""

    def __init__(self, folder: Path, worker_id: str, lock: int) -> None:
        self.worker_id = worker_id
        self._folder = folder
        self._lock = lock

    def read(self) -> list[Spooled]:
        """Return what it had noted, in no particular order; what is torn is left out."""
        paths = [self._folder / f"{self.worker_id}{slot}" for slot in _SLOTS]
        return [
            Spooled(found["run"].decode(), int(found["seq"]), found["events"])
            for path in paths
            if path.exists()
            for found in _LINE.finditer(path.read_bytes())
        ]

    def remove(self) -> None:
        """Remove the files: what was in them is in the database."""
        remove(self._folder, self.worker_id)
        self.release()

    def release(self) -> None:
        """Leave the files to be looked at later."""
        os.close(self._lock)


def find_orphans(folder: Path) -> Iterator[Orphan]:
    """Yield the files of processes that have ended without removing them."""
    for path in sorted(folder.glob(f"*{_LOCK}")):
        lock = _try_to_lock(path)
        if lock is not None:
            yield Orphan(folder, path.stem, lock)


def remove(folder: Path, worker_id: str) -> None:
    """Remove a process's files, the lock last: without it they would never be found."""
    for suffix in (*_SLOTS, _LOCK):
        (folder / f"{worker_id}{suffix}").unlink(missing_ok=True)


def _try_to_lock(path: Path) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:  # else it was removed between the two
            return lock
    except OSError:
        pass
    os.close(lock)
    return None
