"""The state file: what a killed process leaves, other files, other inputs, and a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.evaluation.running.state_file import EndLine, StateError, StateFile

INPUTS: dict[str, Any] = {"questions": "hash", "ensembles": {"fanout": "1", "solo": "2"}, "seed": 0}
NOW = "2026-11-27T03:00:00+00:00"


@contextmanager
def opened(path: Path, *, restarts: bool = False, **changes: Any) -> Iterator[StateFile]:
    state = StateFile(path, {**INPUTS, **changes}, NOW, restarts=restarts)
    try:
        yield state
    finally:
        state.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "state.jsonl"


def test_ends_and_open_starts_are_read_again(path: Path) -> None:
    with opened(path) as state:
        state.note_started("one", "run_1", 50)
        state.note_ended(EndLine("one", "run_1", "answered", 30, 2))
        state.note_started("two", "run_2", 70)
    with opened(path) as state:
        assert state.ends["one"].run_id == "run_1"
        assert [each.run_id for each in state.open_starts.values()] == ["run_2"]
        assert (state.spent_nano, state.calls) == (30, 2)
        assert not state.is_completed


@pytest.mark.parametrize("cut", [1, 2, 10, 40])
def test_a_part_of_a_last_line_is_removed(path: Path, cut: int) -> None:
    with opened(path) as state:
        state.note_ended(EndLine("one", "run_1", "answered"))
        state.note_ended(EndLine("two", "run_2", "answered"))
    path.write_bytes(path.read_bytes()[:-cut])
    with opened(path) as state:
        assert set(state.ends) == {"one"}
        state.note_ended(EndLine("three", "run_3", "answered"))
    with opened(path) as state:
        assert set(state.ends) == {"one", "three"}


def test_a_file_with_only_a_part_of_its_first_line_starts_again(path: Path) -> None:
    with opened(path):
        pass
    path.write_bytes(path.read_bytes()[:7])
    with opened(path) as state:
        assert state.ends == {}
    assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    "content", [b"hello", b"hello\n", b"{}\n", b'{"event":"ended"}\n', b"\xff\xfe\n"]
)
def test_a_file_of_another_program_is_refused_and_not_changed(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StateError, match="is not the state of an evaluation"), opened(path):
        pass
    assert path.read_bytes() == content


def test_another_format_is_refused(path: Path) -> None:
    with opened(path):
        pass
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(StateError, match="has the format 2, not 1"), opened(path):
        pass


def test_a_second_process_is_refused(path: Path) -> None:
    with (
        opened(path),
        pytest.raises(StateError, match="in use by another evaluation"),
        opened(path),
    ):
        pass
    with opened(path):
        pass


def test_each_changed_input_is_named(path: Path) -> None:
    with opened(path):
        pass
    changed = {"fanout": "3", "auto": "4"}
    message = "ensembles differ in fanout, auto, solo; seed was 0 and is 5"
    with pytest.raises(StateError, match=message), opened(path, ensembles=changed, seed=5):
        pass


def test_only_a_completed_evaluation_starts_again(path: Path) -> None:
    with opened(path) as state:
        state.note_ended(EndLine("one", "run_1", "answered", 30, 1))
    with opened(path, restarts=True) as state:
        assert set(state.ends) == {"one"}
        state.note_completed()
    with opened(path) as state:
        assert state.is_completed
    with opened(path, restarts=True) as state:
        assert (state.ends, state.spent_nano, state.is_completed) == ({}, 0, False)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StateError, match="cannot be written"),
        opened(tmp_path / "file" / "s.jsonl"),
    ):
        pass
