"""The README's table of model servers names tests that exist and servers that they cover."""

from __future__ import annotations

import re

import pytest

from tests._support.llm.dialects import FOLDER
from tests._support.paths import ROOT

HEADER = "| server | `LLM_BASE_URL` | tested | with |"


def read_rows() -> list[list[str]]:
    """Return the cells of each row."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    start = lines.index(HEADER) + 2
    end = next(place for place in range(start, len(lines)) if not lines[place].startswith("|"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start:end]]


ROWS = read_rows()


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_a_test_that_exists(row: list[str]) -> None:
    (path,) = re.findall(r"`(tests/[\w./]+)`", row[3])
    assert (ROOT / path).exists()
    assert row[2]


def test_the_replayed_servers_are_those_with_a_file() -> None:
    (row,) = (row for row in ROWS if "tests/dialects" in row[3])
    named = {re.sub(r"[ .]", "_", name.strip().lower()) for name in row[0].split(",")}
    assert named == {file.stem for file in FOLDER.glob("*.toml")} - {"others"}
