"""The spool: files of one worker with events that clients received before their commit.

A written line survives the process, but not the machine: it is in the kernel's page cache. It
costs a system call and no wait for a disk, and `kill -9` loses no event that a client received.
Two files alternate: one is written while the events of the other are being committed.

The lock on a third file shows whether the worker is alive: the kernel releases it when the process
ends. That file names the start of the machine, and is empty after an entry could not be written:
others then know whether the entries are all that clients can have received.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.runs.journal.locks import FreeLock, WorkerLock, find_free_locks

_log = logging.getLogger(__name__)

_SLOTS = (".a", ".b")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux: a new one at each start of the machine
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
        self._lock = WorkerLock(folder, worker_id)
        self._slots: list[int] = []
        self._sizes = [0, 0]
        self._has_warned = False
        self._is_complete = True  # False: an event since `switch` is not in the files
        self._was_complete = True  # False: one before it, which is not committed yet
        self._current = 0
        self._other_is_free = True

    def open(self) -> None:
        """Create the files and take the lock."""
        try:
            self._lock.take(_describe_start())
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._slots = [os.open(self._path(slot), flags, 0o600) for slot in _SLOTS]
        except OSError as error:
            self._report_incomplete(error)

    @property
    def is_locked(self) -> bool:
        """Whether other workers of this machine can see that this one is alive."""
        return self._lock.is_held

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
            self._report_incomplete(error)
            # Remove half a line: nothing may follow it.
            self._truncate(self._current, self._sizes[self._current])
        else:
            self._sizes[self._current] += len(block)

    def switch(self) -> None:
        """Continue in the other file, unless its events are not committed yet."""
        self._was_complete &= self._is_complete
        self._is_complete = True
        if self._slots and self._other_is_free:
            self._current = 1 - self._current
            self._other_is_free = False

    def clear_committed(self) -> None:
        """Empty the file that is not the current one, after a commit of its events."""
        self._other_is_free = True
        if self._slots:
            self._truncate(1 - self._current, 0)
        if self._slots and self._is_complete and not self._was_complete:
            with suppress(OSError):
                self._lock.write_facts(_describe_start())
        self._was_complete = True

    def close(self) -> None:
        """Remove the files, after everything was committed."""
        for slot in self._slots:
            os.close(slot)
        self._slots = []
        if self._lock.is_held:
            _remove_slots(self._folder, self._worker_id)
            self._lock.remove()

    def abandon(self) -> None:
        """Close the files and leave them for the next worker that starts."""
        for slot in self._slots:
            os.close(slot)
        self._slots = []
        self._lock.release()

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._worker_id}{suffix}"

    def _truncate(self, slot: int, size: int) -> None:
        self._sizes[slot] = size
        try:
            os.ftruncate(self._slots[slot], size)
        except OSError as error:
            self._warn_once(error)

    def _report_incomplete(self, error: OSError) -> None:
        self._is_complete = False
        with suppress(OSError):
            self._lock.write_facts({})
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

    def __init__(self, folder: Path, lock: FreeLock) -> None:
        self.worker_id = lock.worker_id
        self._folder = folder
        self._lock = lock

    @property
    def is_complete(self) -> bool:
        """Whether clients received no events but the stored ones and those of `read`."""
        return self._lock.read_facts() == _describe_start()

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
        _remove_slots(self._folder, self.worker_id)
        self._lock.remove()  # the last one: without it the others would never be found

    def release(self) -> None:
        """Unlock the files and leave them for a later attempt."""
        self._lock.release()


def find_orphans(folder: Path) -> Iterator[Orphan]:
    """Yield the files of each worker that has ended and left them, locked by this one."""
    for lock in find_free_locks(folder):
        yield Orphan(folder, lock)


def _describe_start() -> dict[str, Any]:
    """Return what differs after a power failure, which loses the last entries."""
    try:
        return {"boot": _BOOT_ID.read_text().strip()}
    except OSError:  # not on Linux
        return {"boot": ""}


def _remove_slots(folder: Path, worker_id: str) -> None:
    for suffix in _SLOTS:
        (folder / f"{worker_id}{suffix}").unlink(missing_ok=True)
