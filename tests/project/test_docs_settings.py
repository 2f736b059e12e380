"""`.env.example` lists every setting with its default and a description, and no other name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from types import NoneType
from typing import get_args

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.settings import FOR_COMPOSE, PROXY_VARIABLES, Settings
from tests._support.paths import ROOT

EXAMPLE = ROOT / ".env.example"
_SETTING = re.compile(r"#?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")
_FIELDS = sorted(Settings.model_fields.items())


def _read_example() -> Mapping[str, tuple[str, str]]:
    """Return the value of each setting and the line above it, by name."""
    lines = ["", *EXAMPLE.read_text("utf-8").splitlines()]
    found = {}
    for above, line in pairwise(lines):
        if match := _SETTING.fullmatch(line):
            assert match["name"] not in found, f"{match['name']} is listed twice"
            found[match["name"]] = (match["value"], above)
    return found


def test_every_setting_is_listed_and_no_other_name() -> None:
    names = {name for name in _read_example() if not name.startswith("OTEL_")}
    fields = {name.upper() for name in Settings.model_fields}
    assert names == fields | FOR_COMPOSE | PROXY_VARIABLES


@pytest.mark.parametrize(("name", "field"), _FIELDS, ids=[name for name, _ in _FIELDS])
def test_a_setting_is_listed_with_its_default(name: str, field: FieldInfo) -> None:
    value, _ = _read_example()[name.upper()]
    if field.default is None:
        assert value == "" or SecretStr not in get_args(field.annotation)
        assert NoneType in get_args(field.annotation)
        return
    settings = Settings.model_validate({name: value}) if value else Settings()
    assert getattr(settings, name) == field.default


@pytest.mark.parametrize("name", [name for name, _ in _FIELDS])
def test_a_setting_has_a_description_above_it(name: str) -> None:
    _, above = _read_example()[name.upper()]
    assert re.match(r"# \S", above)


def test_an_unchanged_copy_sets_the_defaults() -> None:
    assert Settings(_env_file=EXAMPLE) == Settings()  # type: ignore[call-arg]  # pydantic-settings' own
