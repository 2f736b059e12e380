"""The output of commands: a table or a sentence for people, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


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
        return json.dumps(self.data, indent=2, ensure_ascii=False) if as_json else self.text


def make_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], empty: str) -> str:
    """Return rows as lines with aligned columns below their names; `empty` if there are none."""
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
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value)) or "-"
    return str(value)
