"""`docs/architecture.md` and `docs/design/` agree with the code and with each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from tests._support.paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
DESIGN = ROOT / "docs" / "design"
TOPICS = sorted(page for page in DESIGN.glob("*.md") if page.name != "README.md")
PACKAGES = sorted(
    f"{path.parent.relative_to(ROOT)}/"
    for top in ("service", "telemetry")
    for path in (ROOT / top).rglob("__init__.py")
)
_PATH = re.compile(r"`((?:service|telemetry|tests|tools|deploy|bench|docs)/[\w./-]*)`")
_TABLE_OF_PACKAGES = re.compile(r"^\| `([\w/]+/)` \| ", re.M)
_DECISION = re.compile(r"^## (.+)\n\n(?:\*(\d{4}-\d\d-\d\d)\.\* )?", re.M)
_INDEX = re.compile(r"^\| (\d{4}-\d\d-\d\d) \| \[(.+)\]\((\w+\.md)#\S+\) \|$", re.M)


def _paths_in(page: Path) -> set[str]:
    return set(_PATH.findall(page.read_text("utf-8")))


@pytest.mark.parametrize(
    "page", [ROOT / "docs" / "architecture.md", *TOPICS], ids=lambda it: it.name
)
def test_every_path_on_a_page_exists(page: Path) -> None:
    assert not {path for path in _paths_in(page) if not (ROOT / path).exists()}


def test_every_package_is_in_the_table_and_no_other() -> None:
    packages = PAGE[PAGE.index("## Packages") : PAGE.index("## Where to look")]
    listed = set(_TABLE_OF_PACKAGES.findall(packages))
    assert set(PACKAGES) <= listed
    assert not {name for name in listed if not (ROOT / name).is_dir()}


def _rule(name: str) -> dict[str, Any]:
    """Return a table of the architecture test, without importing that test."""
    tree = ast.parse((ROOT / "tests/project/test_architecture.py").read_text("utf-8"))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        target = node.target if isinstance(node, ast.AnnAssign) else target
        if isinstance(target, ast.Name) and target.id == name:
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            found: dict[str, Any] = ast.literal_eval(node.value)
            return found
    raise AssertionError(f"there is no {name}")


def test_the_layers_are_those_that_are_enforced() -> None:
    shown = {
        name.removesuffix("/").removesuffix(".py").replace("/", "."): int(layer)
        for layer, names in re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.M)
        for name in re.findall(r"`([\w/.]+)`", names)
        if name != "service/" or layer == "1"
    }
    assert shown == _rule("LAYERS")


def test_the_limits_of_the_apis_are_those_that_are_enforced() -> None:
    table = PAGE[PAGE.index("## Size of an API") :]
    shown = {
        name.strip("`"): int(lines.replace(",", ""))
        for name, lines in re.findall(r"^\| (\S[^|]*) \| `[^|]+` \| ([\d,]+) \|$", table, re.M)
    }
    assert shown == {name: most for name, (most, _) in _rule("APIS").items()}


@pytest.mark.parametrize("page", TOPICS, ids=lambda it: it.name)
def test_every_decision_has_a_date(page: Path) -> None:
    decisions = _DECISION.findall(page.read_text("utf-8"))
    dates = [date for _, date in decisions]
    assert all(dates), [heading for heading, date in decisions if not date]
    assert dates == sorted(dates, reverse=True), "the newest is first"


def test_the_index_lists_every_decision() -> None:
    decisions = {
        (date, heading, page.name)
        for page in TOPICS
        for heading, date in _DECISION.findall(page.read_text("utf-8"))
    }
    assert set(_INDEX.findall((DESIGN / "README.md").read_text("utf-8"))) == decisions


@pytest.mark.parametrize("page", TOPICS, ids=lambda it: it.name)
def test_a_heading_states_a_decision(page: Path) -> None:
    for heading, _ in _DECISION.findall(page.read_text("utf-8")):
        assert not re.match(r"(What|Which|How|Why|When|Where|Who|Whose)\b", heading), heading
        assert not heading.endswith("?"), heading
