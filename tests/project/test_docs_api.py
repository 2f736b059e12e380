"""The pages in docs/ say what the code does: addresses, codes, metrics, modules, settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import KNOWN
from tests._support.paths import ROOT
from tools.observe.places import Places

API = "".join(page.read_text("utf-8") for page in sorted((ROOT / "docs" / "api").glob("*.md")))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_MAKES_CODES = {"RequestError", "RunError", "Stop", "problem", "AgentSkipped"}
_SLUG = re.compile(r"[a-z]+(_[a-z]+)*")


def _codes() -> Iterator[str]:
    """Yield every code that the service writes down."""
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in _MAKES_CODES:
                    yield from (text for text in map(_constant, node.args) if text)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(each, ast.Name) and each.id == "code" for each in targets):
                    yield from filter(None, [_constant(node.value)])
            elif isinstance(node, ast.Dict) and path.parts[-2:] == ("http", "errors.py"):
                pairs = (each for each in node.values if isinstance(each, ast.Tuple))
                yield from (text for pair in pairs if (text := _constant(pair.elts[0])))


def _constant(node: ast.expr | None) -> str:
    """Return the slug that an expression is, or nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if _SLUG.fullmatch(node.value) else ""
    return ""


def _addresses() -> Iterator[str]:
    for path in (ROOT / "service" / "api").rglob("*.py"):
        yield from re.findall(
            r'@app\.(?:get|post|patch|delete)\("(.+?)"\)', path.read_text("utf-8")
        )


@pytest.mark.parametrize("code", sorted(set(_codes())))
def test_a_code_is_documented(code: str) -> None:
    assert f"`{code}`" in API


def test_the_codes_are_found() -> None:
    some = {"bad_json", "body_timeout", "too_few_answers", "straggler", "missing_key", "abandoned"}
    assert some <= set(_codes())


@pytest.mark.parametrize("address", sorted(set(_addresses())))
def test_an_address_is_documented(address: str) -> None:
    shown = re.sub(r"<[\w:]+>", "{id}", address)
    assert re.search(rf"{re.escape(shown)}`", API)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", page.read_text("utf-8")):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not heading or heading in _headings(target), link


def _headings(page: Path) -> set[str]:
    """Return the headings of a page as links name them."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_settings_that_exist(page: Path) -> None:
    known = KNOWN | {"OBSERVE_APP", *(variable for variable, _ in Places().ports())}
    known |= {"TCP_USER_TIMEOUT", "BODY_TIMEOUT", "RESPONSE_TIMEOUT"}  # of the kernel, of Quart
    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b", page.read_text("utf-8")))
    assert not {name for name in named - known if not name.startswith("OTEL_")}
