"""The documentation names every route and error code, and only links and settings that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import KNOWN
from service.version import VERSION
from tests._support.paths import ROOT
from tools.observe.addresses import Addresses

API = "".join(page.read_text("utf-8") for page in sorted((ROOT / "docs" / "api").glob("*.md")))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_CALLS_WITH_A_CODE = {"RequestError", "RunError", "StopReason", "problem", "AgentSkipped"}
_SLUG = re.compile(r"[a-z]+(_[a-z]+)*")


def _name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _find_codes() -> Iterator[str]:
    """Yield every error code in the service's source."""
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in _CALLS_WITH_A_CODE:
                    yield from (text for text in map(_read_slug, node.args) if text)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(each, ast.Name) and each.id == "code" for each in targets):
                    yield from filter(None, [_read_slug(node.value)])
            elif isinstance(node, ast.Dict) and path.parts[-2:] == ("http", "errors.py"):
                pairs = (each for each in node.values if isinstance(each, ast.Tuple))
                yield from (text for pair in pairs if (text := _read_slug(pair.elts[0])))


def _read_slug(node: ast.expr | None) -> str:
    """Return the slug that is the value of an expression, or an empty text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if _SLUG.fullmatch(node.value) else ""
    return ""


def _find_routes() -> Iterator[str]:
    """Yield the path of every route, as it is declared."""
    for path in (ROOT / "service" / "api").rglob("*.py"):
        yield from re.findall(
            r'@app\.(?:get|post|patch|delete)\("(.+?)"\)', path.read_text("utf-8")
        )


@pytest.mark.parametrize("code", sorted(set(_find_codes())))
def test_every_code_is_documented(code: str) -> None:
    assert f"`{code}`" in API


def test_codes_are_found_in_every_place_that_sets_one() -> None:
    some = {"bad_json", "body_timeout", "too_few_answers", "straggler", "missing_key", "abandoned"}
    assert some <= set(_find_codes())


@pytest.mark.parametrize("route", sorted(set(_find_routes())))
def test_every_route_is_documented(route: str) -> None:
    documented = re.sub(r"<[\w:]+>", "{id}", route)
    assert re.search(rf"{re.escape(documented)}`", API)


def test_the_index_of_the_apis_states_this_version() -> None:
    assert f"version {VERSION}." in (ROOT / "docs" / "api" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=_name_of)
def test_a_page_has_one_title(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    assert len(re.findall(r"^# ", text, re.M)) == 1


@pytest.mark.parametrize("page", PAGES, ids=_name_of)
def test_every_link_has_a_target(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", page.read_text("utf-8")):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not heading or heading in _find_anchors(target), link


def _find_anchors(page: Path) -> set[str]:
    """Return the headings of a page in the form that links use."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=_name_of)
def test_a_page_names_only_settings_that_exist(page: Path) -> None:
    known = KNOWN | {"OBSERVE_APP", *(variable for variable, _ in Addresses().ports())}
    known |= {"TCP_USER_TIMEOUT", "BODY_TIMEOUT", "RESPONSE_TIMEOUT"}  # of the kernel, of Quart
    known |= {"LLM_SSE_URL", "LLM_SSE_API_KEY", "XDG_DATA_HOME"}  # of the terminal client
    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b", page.read_text("utf-8")))
    assert not {name for name in named - known if not name.startswith("OTEL_")}
