"""The spool: entries survive their process until they are committed."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.runs.journal.spool import Spool, Spooled, find_orphans

FIRST = Spooled("run_1", 1, b"[1]")
SECOND = Spooled("run_1", 2, b"[2]")
OTHER = Spooled("run_2", 1, b'["a b\\n"]')


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """The spool of a worker; its files are removed after the test."""
    made = Spool(tmp_path, "worker_1")
    made.open()
    yield made
    made.close()


def _read_orphans(folder: Path) -> list[Spooled]:
    """Return the entries of all orphans, and leave their files."""
    found: list[Spooled] = []
    for orphan in find_orphans(folder):
        found += orphan.read()
        orphan.release()
    return found


def test_entries_survive_their_process(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST, OTHER])
    spool.write([SECOND])
    spool.abandon()
    assert _read_orphans(tmp_path) == [FIRST, OTHER, SECOND]


def test_files_of_a_live_worker_are_not_found(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    assert _read_orphans(tmp_path) == []


def test_only_one_worker_finds_an_orphan(spool: Spool, tmp_path: Path) -> None:
    spool.abandon()
    (orphan,) = find_orphans(tmp_path)
    assert list(find_orphans(tmp_path)) == []
    orphan.release()
    assert _has_orphans(tmp_path)


def _has_orphans(folder: Path) -> bool:
    found = list(find_orphans(folder))
    for orphan in found:
        orphan.release()
    return bool(found)


def test_an_orphan_has_the_id_of_its_worker(spool: Spool, tmp_path: Path) -> None:
    spool.abandon()
    (orphan,) = find_orphans(tmp_path)
    orphan.release()
    assert orphan.worker_id == "worker_1"


def test_an_orphan_that_is_removed_leaves_no_file(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.abandon()
    (orphan,) = find_orphans(tmp_path)
    orphan.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_stops_in_order_leaves_no_file(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_has_no_orphans(tmp_path: Path) -> None:
    assert list(find_orphans(tmp_path / "nowhere")) == []


# --- the two files alternate ---


def test_committed_entries_are_removed(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.switch()
    spool.clear_committed()
    spool.abandon()
    assert _read_orphans(tmp_path) == []


def test_entries_written_during_a_commit_stay(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.switch()
    spool.write([SECOND])
    spool.clear_committed()
    spool.abandon()
    assert _read_orphans(tmp_path) == [SECOND]


def test_no_entry_is_removed_before_a_successful_commit(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.switch()
    spool.write([SECOND])
    spool.switch()  # the first attempt failed
    spool.write([OTHER])
    spool.abandon()
    assert sorted(_read_orphans(tmp_path), key=repr) == sorted([FIRST, SECOND, OTHER], key=repr)


def test_files_do_not_grow_from_commit_to_commit(spool: Spool, tmp_path: Path) -> None:
    for _ in range(10):
        spool.write([FIRST])
        spool.switch()
        spool.clear_committed()
    assert sum(path.stat().st_size for path in tmp_path.glob("*.[ab]")) == 0


# --- faults ---


@pytest.mark.parametrize("kept_bytes", range(1, 11))
def test_an_incomplete_line_is_ignored(spool: Spool, tmp_path: Path, kept_bytes: int) -> None:
    spool.write([FIRST, SECOND])
    spool.abandon()
    path = tmp_path / "worker_1.a"
    whole = b"run_1 1 [1]\n"
    path.write_bytes(path.read_bytes()[: len(whole) + kept_bytes])
    assert _read_orphans(tmp_path) == [FIRST]


def test_malformed_bytes_are_ignored(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.abandon()
    with (tmp_path / "worker_1.a").open("ab") as file:
        file.write(b"\0\0\0\0\n\xff\xfe garbage\nrun_1 x [2]\n")
    assert _read_orphans(tmp_path) == [FIRST]


def test_a_worker_that_ended_before_its_first_entry_is_found(spool: Spool, tmp_path: Path) -> None:
    spool.abandon()
    for slot in ("a", "b"):
        (tmp_path / f"worker_1.{slot}").unlink()
    assert _read_orphans(tmp_path) == []
    assert _has_orphans(tmp_path)


def test_a_folder_that_cannot_be_written_is_logged_once_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    spool = Spool(tmp_path / "file" / "spool", "worker_1")
    with caplog.at_level(logging.WARNING):
        spool.open()
        for _ in range(3):
            spool.write([FIRST])
            spool.switch()
            spool.clear_committed()
        spool.close()
    assert len(caplog.records) == 1
    assert "may be missing" in caplog.text


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Spool]:
    """A spool on a full disk."""
    (tmp_path / "worker_1.a").symlink_to("/dev/full")
    made = Spool(tmp_path, "worker_1")
    made.open()
    yield made
    made.close()


def test_a_full_disk_is_logged_once_and_ignored(
    full: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            full.write([FIRST])
            full.switch()
            full.clear_committed()
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def test_a_worker_with_a_full_disk_still_counts_as_alive(full: Spool, tmp_path: Path) -> None:
    full.write([FIRST])
    assert not _has_orphans(tmp_path)


def test_the_spool_continues_when_the_disk_has_room_again(full: Spool, tmp_path: Path) -> None:
    full.write([FIRST])
    full.switch()  # to the other file, which is not on the full disk
    full.write([SECOND])
    full.abandon()
    (tmp_path / "worker_1.a").unlink()
    assert _read_orphans(tmp_path) == [SECOND]


@contextmanager
def _room_for(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_partly_written_line_is_removed(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    with _room_for(18):
        spool.write([SECOND])
    spool.write([OTHER])
    spool.abandon()
    assert _read_orphans(tmp_path) == [FIRST, OTHER]


def test_a_spool_that_another_has_locked_is_not_used(
    spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    twin = Spool(tmp_path, "worker_1")
    twin.open()
    twin.write([OTHER])
    twin.close()
    spool.write([FIRST])
    spool.abandon()
    assert _read_orphans(tmp_path) == [FIRST]


# --- completeness ---


def test_a_spool_whose_entries_were_all_written_is_complete(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.abandon()
    (orphan,) = find_orphans(tmp_path)
    assert orphan.is_complete
    orphan.release()


def test_a_spool_that_lacks_an_entry_is_not_complete(full: Spool, tmp_path: Path) -> None:
    full.write([FIRST])
    full.abandon()
    (orphan,) = find_orphans(tmp_path)
    assert not orphan.is_complete
    orphan.release()


def test_a_spool_is_complete_again_after_a_commit_of_the_missing_entry(
    full: Spool, tmp_path: Path
) -> None:
    full.write([FIRST])
    full.switch()
    full.write([SECOND])
    full.switch()  # the first commit failed
    full.clear_committed()
    full.abandon()
    (orphan,) = find_orphans(tmp_path)
    assert orphan.is_complete
    orphan.release()


def test_a_commit_does_not_complete_a_spool_that_failed_during_it(
    full: Spool, tmp_path: Path
) -> None:
    full.switch()  # to the file that can be written
    full.clear_committed()
    full.switch()  # a commit starts, and entries go to the full disk
    full.write([FIRST])
    full.clear_committed()
    full.abandon()
    (orphan,) = find_orphans(tmp_path)
    assert not orphan.is_complete
    orphan.release()
