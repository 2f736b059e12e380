"""The spool: files of one worker with events that clients received before their commit.

A written line survives the process, but not the machine: it is in the kernel's page cache. It
costs a system call and no wait for a disk, and `kill -9` loses no event that a client received.
Two files alternate: one is written while the events of the other are being committed.

The lock on a third file shows whether the worker is alive: the kernel releases it when the process
ends.
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
    """Consecutive events of a run, the first numbered `first_seq`; `line` is in codec's format."""

    run_id: str
    first_seq: int
    line: bytes


class Spool:
    """The files of this worker. When they cannot be written, it logs that once and continues."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._folder = folder
        self._worker_id = worker_id
        self._lock: int | None = None
        self._slots: list[int] = []
        self._sizes = [0, 0]
        self._has_warned = False
        self._current = 0
        self._other_is_free = True

    def open(self) -> None:
        """Create the files and take the lock."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._make_lock()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._slots = [os.open(self._path(slot), flags, 0o600) for slot in _SLOTS]
        except OSError as error:
            self._warn_once(error)

    def write(self, entries: Iterable[Spooled]) -> None:
        """Append `entries` to the current file."""
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
            self._warn_once(error)
            # Remove half a line: nothing may follow it.
            self._truncate(self._current, self._sizes[self._current])
        else:
            self._sizes[self._current] += len(block)

    def switch(self) -> None:
        """Continue in the other file, unless its events are not committed yet."""
        if self._slots and self._other_is_free:
            self._current = 1 - self._current
            self._other_is_free = False

    def clear_committed(self) -> None:
        """Empty the file that is not the current one, after a commit of its events."""
        self._other_is_free = True
        if self._slots:
            self._truncate(1 - self._current, 0)

    def close(self) -> None:
        """Remove the files, after everything was committed."""
        for slot in self._slots:
            os.close(slot)
        self._slots = []
        if self._lock is not None:
            _remove_files(self._folder, self._worker_id)
            os.close(self._lock)
            self._lock = None

    def abandon(self) -> None:
        """Close the files and leave them for the next worker that starts."""
        for fd in (*self._slots, *([] if self._lock is None else [self._lock])):
            os.close(fd)
        self._slots, self._lock = [], None

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._worker_id}{suffix}"

    def _make_lock(self) -> int:
        # The file gets its name after it is locked: a free lock means that its worker has ended.
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

    def _truncate(self, slot: int, size: int) -> None:
        self._sizes[slot] = size
        try:
            os.ftruncate(self._slots[slot], size)
        except OSError as error:
            self._warn_once(error)

    def _warn_once(self, error: OSError) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        _log.warning(
            "cannot write to %s (%s): after a crash the last 250 ms of events may be missing",
            self._folder,
            error.strerror or error,
        )


class Orphan:
    """The files of a worker that has ended, locked by this one so that no other reads them."""

    def __init__(self, folder: Path, worker_id: str, lock: int) -> None:
        self.worker_id = worker_id
        self._folder = folder
        self._lock = lock

    def read(self) -> list[Spooled]:
        """Return the entries of both files, in no particular order, without incomplete lines."""
        paths = [self._folder / f"{self.worker_id}{slot}" for slot in _SLOTS]
        return [
            Spooled(found["run"].decode(), int(found["seq"]), found["events"])
            for path in paths
            if path.exists()
            for found in _LINE.finditer(path.read_bytes())
        ]

    def remove(self) -> None:
        """Remove the files, after their events were committed."""
        _remove_files(self._folder, self.worker_id)
        self.release()

    def release(self) -> None:
        """Unlock the files and leave them for a later attempt."""
        os.close(self._lock)


def find_orphans(folder: Path) -> Iterator[Orphan]:
    """Yield the files of each worker that has ended and left them, locked by this one."""
    for path in sorted(folder.glob(f"*{_LOCK}")):
        lock = _try_to_lock(path)
        if lock is not None:
            yield Orphan(folder, path.stem, lock)


def _remove_files(folder: Path, worker_id: str) -> None:
    # The lock last: without it the others would never be found.
    for suffix in (*_SLOTS, _LOCK):
        (folder / f"{worker_id}{suffix}").unlink(missing_ok=True)


def _try_to_lock(path: Path) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:  # otherwise it was removed after it was opened
            return lock
    except OSError:
        pass
    os.close(lock)
    return None
