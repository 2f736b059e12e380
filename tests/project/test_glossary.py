"""`docs/glossary.md` names things in the code that exist."""

from __future__ import annotations

import re
from pkgutil import resolve_name

import pytest
from pydantic import BaseModel

from tests._support.paths import ROOT

_ROW = re.compile(r"^\| (?P<term>[^|]+) \| (?P<meaning>[^|]+) \| `(?P<name>[\w.]+)` \|$", re.M)
PAGE = (ROOT / "docs" / "glossary.md").read_text("utf-8")
ROWS = [(row["term"], row["meaning"], row["name"]) for row in _ROW.finditer(PAGE)]


def _exists(name: str) -> bool:
    """Whether `name` is a module, or an attribute or field of something in one."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        owner, _, field = name.rpartition(".")
        return _has_field(resolve_name(owner), field)
    return True


def _has_field(owner: object, field: str) -> bool:
    """Whether a class declares `field` without giving it a value, or sets it when created."""
    if isinstance(owner, type) and issubclass(owner, BaseModel):
        return field in owner.model_fields
    created = getattr(getattr(owner, "__init__", None), "__code__", None)
    return field in getattr(owner, "__annotations__", {}) or (
        created is not None and field in created.co_names
    )


def test_every_row_of_the_table_is_read() -> None:
    table = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(ROWS) == len(table) - 1  # without its head


@pytest.mark.parametrize(("term", "name"), [(term, name) for term, _, name in ROWS])
def test_the_code_name_of_a_term_exists(term: str, name: str) -> None:
    assert _exists(name), f"{term}: there is no {name}"


@pytest.mark.parametrize(("term", "meaning"), [(term, meaning) for term, meaning, _ in ROWS])
def test_the_meaning_of_a_term_is_one_sentence(term: str, meaning: str) -> None:
    assert re.fullmatch(r"[^.]*(\.\w[^.]*)*\.", meaning), term


def test_a_term_is_explained_once() -> None:
    terms = [term for term, _, _ in ROWS]
    assert len(terms) == len(set(terms))
