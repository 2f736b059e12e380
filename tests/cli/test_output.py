"""The output of commands on a terminal."""

from __future__ import annotations

import json

import pytest

from service.cli.output import CommandOutput, make_table

HOSTILE = "a\x1b[2J\x1b]0;title\x07\r\nid  forged\x9b31m\x7f\u202eb\u2066\u2028"


def _controls(text: str) -> list[str]:
    return [each for each in text if not each.isprintable() and each != "\n"]


@pytest.mark.parametrize("value", [HOSTILE, [HOSTILE], {HOSTILE: HOSTILE}, {"x": [HOSTILE]}])
def test_a_text_of_a_user_does_not_control_the_terminal(value: object) -> None:
    table = make_table(("name",), [{"name": value}], "")
    assert not _controls(table)
    assert len(table.splitlines()) == 2
    shown = CommandOutput(table, {"name": value}).render(as_json=True)
    assert not _controls(shown)
    assert json.loads(shown) == {"name": value}


def test_letters_of_every_language_are_shown() -> None:
    assert "Zoë 鈴木 🙂" in make_table(("name",), [{"name": "Zoë 鈴木 🙂"}], "")
