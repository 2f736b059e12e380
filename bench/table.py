"""The Markdown table that a benchmark prints."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; `met` states whether the target was met, None without a target."""

    title: str
    reached: str
    target: str = ""
    note: str = ""
    met: bool | None = None


def format_markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    rows = [("what", "reached", "target", "note"), ("---",) * 4]
    rows += [(line.title, line.reached, _format_target(line), line.note) for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def describe_machine() -> str:
    """Return the Python version and number of cores that the figures depend on."""
    cores = len(os.sched_getaffinity(0))
    return f"Python {platform.python_version()}, {cores} cores; ratios hold, absolutes do not."


def format_thousands(value: float) -> str:
    """Return a number in thousands, such as `12.3 k`."""
    return f"{value / 1000:.1f} k"


def format_count(value: int) -> str:
    """Return a round number, such as `100`, `30 k` or `1 M`."""
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return str(value)


def _format_target(line: Line) -> str:
    if line.met is None:
        return line.target
    return f"{line.target} ({'met' if line.met else 'missed'})"
