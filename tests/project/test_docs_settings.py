"""`.env.example` lists every setting with its default and one line, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from types import NoneType
from typing import get_args

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.settings import FOR_COMPOSE, Settings
from tests._support.paths import ROOT

EXAMPLE = ROOT / ".env.example"
_SETTING = re.compile(r"#?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")
_FIELDS = sorted(Settings.model_fields.items())


def _documented() -> Mapping[str, tuple[str, str]]:
    """Return each setting's line and the line above it, by name."""
    lines = ["", *EXAMPLE.read_text("utf-8").splitlines()]
    found = {}
    for above, line in pairwise(lines):
        if match := _SETTING.fullmatch(line):
            assert match["name"] not in found, f"{match['name']} is there twice"
            found[match["name"]] = (match["value"], above)
    return found


def test_every_setting_is_there_and_no_other() -> None:
    names = {name for name in _documented() if not name.startswith("OTEL_")}
    assert names == {name.upper() for name in Settings.model_fields} | FOR_COMPOSE


@pytest.mark.parametrize(("name", "field"), _FIELDS, ids=[name for name, _ in _FIELDS])
def test_a_setting_has_its_default(name: str, field: FieldInfo) -> None:
    value, _ = _documented()[name.upper()]
    if field.default is None:
        assert value == "" or SecretStr not in get_args(field.annotation)
        assert NoneType in get_args(field.annotation)
        return
    told = Settings.model_validate({name: value}) if value else Settings()
    assert getattr(told, name) == field.default


@pytest.mark.parametrize("name", [name for name, _ in _FIELDS])
def test_a_setting_has_a_line_that_says_what_it_is(name: str) -> None:
    _, above = _documented()[name.upper()]
    assert re.match(r"# \S", above)


def test_copied_as_it_is_it_changes_nothing() -> None:
    assert Settings(_env_file=EXAMPLE) == Settings()  # type: ignore[call-arg]  # pydantic-settings' own
