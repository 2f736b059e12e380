"""The output of commands: a table or a sentence for people, or JSON for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# What `json.dumps` leaves as it is: DEL, the controls C1, and those of the direction of text.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """The result of a command: `text` for people, `data` for `--json`, `note` for the terminal.

    The note goes to the standard error, so that the text can be piped.
    """

    text: str
    data: Any
    note: str = ""
    exit_code: int = 0

    def render(self, *, as_json: bool) -> str:
        """Return what the standard output receives."""
        if not as_json:
            return self.text
        return _UNPRINTABLE.sub(_escape, json.dumps(self.data, indent=2, ensure_ascii=False))


def make_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], empty: str) -> str:
    """Return rows as lines with aligned columns below their names; `empty` if there are none.

    Control characters are escaped: a user's text must not control the terminal of an administrator,
    or look like another row.
    """
    if not rows:
        return empty
    cells = [[each.upper().replace("_", " ") for each in columns]]
    cells += [[_format(row.get(each)) for each in columns] for row in rows]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def format_moment(moment: datetime | None) -> str | None:
    """Return a time in ISO 8601, to the second."""
    return moment.isoformat(timespec="seconds") if moment else None


def _format(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{_format(name)} {_format(each)}" for name, each in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(_format, value)) or "-"
    return escape_text(str(value))


def escape_text(text: str) -> str:
    """Return text whose unprintable characters are escaped, so that it is one line."""
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(found: re.Match[str] | str) -> str:
    """Return a character as in JSON."""
    return json.dumps(found if isinstance(found, str) else found[0])[1:-1]
