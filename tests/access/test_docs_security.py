"""`docs/security.md` names tests that exist, and a test for each promise."""

from __future__ import annotations

import ast
import re

from tests._support.paths import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_FILE = re.compile(r"`(tests/[\w/]+\.py)`")
_PROMISES = PAGE[PAGE.index("## Promises") :]


def _list_tests(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_every_test_named_on_the_page_exists() -> None:
    assert [path for path in _FILE.findall(PAGE) if not (ROOT / path).exists()] == []
    named = _TEST.findall(PAGE)
    assert [(path, name) for path, name in named if name not in _list_tests(path)] == []


def test_every_promise_of_the_page_names_its_test() -> None:
    rows = [line for line in _PROMISES.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 20
    assert [row for row in rows if not _TEST.search(row.rpartition(" | ")[2])] == []
