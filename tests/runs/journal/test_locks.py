"""Locks that show whether a worker is alive, and the facts in their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.runs.journal.locks import (
    WorkerLock,
    find_free_locks,
    is_held,
    list_workers,
    try_to_take,
)

FACTS = {"spool": "/data/spool"}


def _take(folder: Path, worker_id: str = "worker_1") -> WorkerLock:
    lock = WorkerLock(folder, worker_id)
    lock.take(FACTS)
    return lock


def test_a_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    lock = _take(tmp_path)
    assert (lock.is_held, is_held(tmp_path, "worker_1")) == (True, True)
    assert list(find_free_locks(tmp_path)) == []
    lock.release()
    assert (lock.is_held, is_held(tmp_path, "worker_1")) == (False, False)


def test_the_facts_of_a_worker_are_found_after_its_end(tmp_path: Path) -> None:
    _take(tmp_path).release()
    (free,) = find_free_locks(tmp_path)
    assert (free.worker_id, free.read_facts()) == ("worker_1", FACTS)
    free.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_free_lock_is_taken_by_one_worker(tmp_path: Path) -> None:
    _take(tmp_path).release()
    taken = try_to_take(tmp_path, "worker_1")
    assert taken is not None
    assert try_to_take(tmp_path, "worker_1") is None
    taken.release()
    again = try_to_take(tmp_path, "worker_1")
    assert again is not None
    again.remove()


def test_a_removed_lock_leaves_no_file(tmp_path: Path) -> None:
    _take(tmp_path).remove()
    assert list(tmp_path.iterdir()) == []


def test_workers_are_listed_whether_their_locks_are_free_or_held(tmp_path: Path) -> None:
    _take(tmp_path, "worker_2").release()
    held = _take(tmp_path, "worker_1")
    assert list_workers(tmp_path) == ["worker_1", "worker_2"]
    assert not is_held(tmp_path, "worker_3")
    held.remove()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_facts_that_were_lost_are_none(tmp_path: Path, content: bytes) -> None:
    _take(tmp_path).release()
    (tmp_path / "worker_1.lock").write_bytes(content)
    (free,) = find_free_locks(tmp_path)
    assert free.read_facts() == {}
    free.remove()


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError):
        _take(tmp_path / "file" / "locks")
