"""What a process notes before it shows it: there for whoever starts next, gone when committed."""

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
    """A process's spool, of which nothing is left in the end."""
    made = Spool(tmp_path, "worker_1")
    made.open()
    yield made
    made.close()


def _left(folder: Path) -> list[Spooled]:
    """Return what processes that have ended had noted, and leave it there."""
    found: list[Spooled] = []
    for orphan in find_orphans(folder):
        found += orphan.read()
        orphan.release()
    return found


def test_what_was_noted_is_there_after_its_process(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST, OTHER])
    spool.write([SECOND])
    spool.abandon()
    assert _left(tmp_path) == [FIRST, OTHER, SECOND]


def test_nothing_is_found_of_a_process_that_lives(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    assert _left(tmp_path) == []


def test_only_one_process_finds_it(spool: Spool, tmp_path: Path) -> None:
    spool.abandon()
    (orphan,) = find_orphans(tmp_path)
    assert list(find_orphans(tmp_path)) == []
    orphan.release()
    assert _is_there(tmp_path)


def _is_there(folder: Path) -> bool:
    found = list(find_orphans(folder))
    for orphan in found:
        orphan.release()
    return bool(found)


def test_an_orphan_says_whose_it_is(spool: Spool, tmp_path: Path) -> None:
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


def test_a_process_that_ends_properly_leaves_no_file(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_there_is_nothing_where_no_process_ever_was(tmp_path: Path) -> None:
    assert list(find_orphans(tmp_path / "nowhere")) == []


# --- two files take turns ---


def test_what_is_committed_is_gone(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.switch()
    spool.clear_committed()
    spool.abandon()
    assert _left(tmp_path) == []


def test_what_was_noted_during_a_commit_stays(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.switch()
    spool.write([SECOND])
    spool.clear_committed()
    spool.abandon()
    assert _left(tmp_path) == [SECOND]


def test_nothing_is_gone_before_its_commit_came_about(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.switch()
    spool.write([SECOND])
    spool.switch()  # the first attempt failed
    spool.write([OTHER])
    spool.abandon()
    assert sorted(_left(tmp_path), key=repr) == sorted([FIRST, SECOND, OTHER], key=repr)


def test_files_do_not_grow_from_commit_to_commit(spool: Spool, tmp_path: Path) -> None:
    for _ in range(10):
        spool.write([FIRST])
        spool.switch()
        spool.clear_committed()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


# --- what can go wrong ---


@pytest.mark.parametrize("kept_bytes", range(1, 11))
def test_a_line_that_is_torn_is_left_out(spool: Spool, tmp_path: Path, kept_bytes: int) -> None:
    spool.write([FIRST, SECOND])
    spool.abandon()
    path = tmp_path / "worker_1.a"
    whole = b"run_1 1 [1]\n"
    path.write_bytes(path.read_bytes()[: len(whole) + kept_bytes])
    assert _left(tmp_path) == [FIRST]


def test_bytes_that_are_no_line_are_left_out(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    spool.abandon()
    with (tmp_path / "worker_1.a").open("ab") as file:
        file.write(b"\0\0\0\0\n\xff\xfe garbage\nrun_1 x [2]\n")
    assert _left(tmp_path) == [FIRST]


def test_a_process_that_ended_before_it_noted_anything_is_found(
    spool: Spool, tmp_path: Path
) -> None:
    spool.abandon()
    for slot in ("a", "b"):
        (tmp_path / f"worker_1.{slot}").unlink()
    assert _left(tmp_path) == []
    assert _is_there(tmp_path)


def test_a_folder_that_cannot_be_written_is_said_once_and_does_no_harm(
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


def test_a_full_disk_is_said_once_and_does_no_harm(
    full: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            full.write([FIRST])
            full.switch()
            full.clear_committed()
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def test_after_a_full_disk_the_process_still_counts_as_living(full: Spool, tmp_path: Path) -> None:
    full.write([FIRST])
    assert not _is_there(tmp_path)


def test_it_goes_on_by_itself_when_there_is_room_again(full: Spool, tmp_path: Path) -> None:
    full.write([FIRST])
    full.switch()  # to the other file, which is not on the full disk
    full.write([SECOND])
    full.abandon()
    (tmp_path / "worker_1.a").unlink()
    assert _left(tmp_path) == [SECOND]


@contextmanager
def _room_for(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_half_a_line_is_taken_back(spool: Spool, tmp_path: Path) -> None:
    spool.write([FIRST])
    with _room_for(18):
        spool.write([SECOND])
    spool.write([OTHER])
    spool.abandon()
    assert _left(tmp_path) == [FIRST, OTHER]


def test_a_spool_under_a_lock_of_another_is_not_used(
    spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    twin = Spool(tmp_path, "worker_1")
    twin.open()
    twin.write([OTHER])
    twin.close()
    spool.write([FIRST])
    spool.abandon()
    assert _left(tmp_path) == [FIRST]
