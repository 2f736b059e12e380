"""The text of a question from arguments, files and the standard input."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.terminal.feed import AskFailed
from service.terminal.question_text import compose_question


def test_the_parts_are_separated_by_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    question = compose_question(["What", "differs?"], files, reads_stdin=False)
    assert question == "What differs?\n\na.txt:\n\none\n\nb.txt:\n\ntwo"
    assert compose_question([], [], reads_stdin=False) == ""


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "data.bin"
    if content:
        path.write_bytes(content)
    with pytest.raises(AskFailed, match=r"data\.bin") as refused:
        compose_question(["Why?"], [path], reads_stdin=False)
    assert refused.value.is_usage
