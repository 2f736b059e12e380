"""Locks on files that show whether a worker is alive: the kernel releases them at its end.

A lock file contains facts about its worker as JSON, for the workers that find it without an owner.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOCK = ".lock"
_UNHELD = ".unheld"


class WorkerLock:
    """The lock of this worker in `folder`, held until `release` or the end of the process."""

    def __init__(self, folder: Path, worker_id: str) -> None:
        self._folder = folder
        self._worker_id = worker_id
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        return self._fd is not None

    def take(self, facts: Mapping[str, Any]) -> None:
        """Create the file with `facts` and lock it. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # The file gets its name after it is locked: a free lock means that its worker has ended.
        unheld = self._folder / f"{self._worker_id}{_UNHELD}"
        fd = os.open(unheld, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.link(unheld, _path(self._folder, self._worker_id))
        except OSError:
            os.close(fd)
            raise
        finally:
            unheld.unlink()
        self._fd = fd
        self.write_facts(facts)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Replace the facts; no facts fit on a full disk, too. Raises OSError."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            if facts:
                os.pwrite(self._fd, json.dumps(facts).encode(), 0)

    def remove(self) -> None:
        """Remove the file and release the lock."""
        if self._fd is not None:
            _path(self._folder, self._worker_id).unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Release the lock and leave the file for the next worker."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class FreeLock:
    """The lock of a worker that has ended, held by this one so that no other takes it."""

    def __init__(self, folder: Path, worker_id: str, fd: int) -> None:
        self.worker_id = worker_id
        self._folder = folder
        self._fd = fd

    def read_facts(self) -> Mapping[str, Any]:
        """Return the worker's facts; none when a power failure has lost them."""
        try:
            facts = json.loads(os.pread(self._fd, 65_536, 0))
        except ValueError:
            return {}
        return facts if isinstance(facts, dict) else {}

    def remove(self) -> None:
        """Remove the file and release the lock."""
        _path(self._folder, self.worker_id).unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Release the lock and leave the file for a later attempt."""
        os.close(self._fd)


def list_workers(folder: Path) -> list[str]:
    """Return the ids of the workers that have a lock file in `folder`."""
    return sorted(path.stem for path in folder.glob(f"*{LOCK}"))


def find_free_locks(folder: Path) -> Iterator[FreeLock]:
    """Yield the lock of each worker that has ended, taken by this one."""
    for worker_id in list_workers(folder):
        if (lock := try_to_take(folder, worker_id)) is not None:
            yield lock


def is_held(folder: Path, worker_id: str) -> bool:
    """Return whether a live worker of this machine holds its lock in `folder`."""
    try:
        fd = os.open(_path(folder, worker_id), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def try_to_take(folder: Path, worker_id: str) -> FreeLock | None:
    """Take the lock of a worker that has ended; None when it is held or there is none."""
    try:
        fd = os.open(_path(folder, worker_id), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:  # otherwise it was removed after it was opened
            return FreeLock(folder, worker_id, fd)
    except OSError:
        pass
    os.close(fd)
    return None


def _path(folder: Path, worker_id: str) -> Path:
    return folder / f"{worker_id}{LOCK}"
