"""The table that a run prints."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `met` says whether the target was; None where there is none."""

    what: str
    reached: str
    target: str = ""
    note: str = ""
    met: bool | None = None


def markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    rows = [("what", "reached", "target", "note"), ("---",) * 4]
    rows += [(line.what, line.reached, _target(line), line.note) for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine() -> str:
    """Return what the figures depend on, as far as it may be told."""
    cores = len(os.sched_getaffinity(0))
    return f"Python {platform.python_version()}, {cores} cores; ratios hold, absolutes do not."


def thousands(value: float) -> str:
    """Return a large number for people: 12.3 k."""
    return f"{value / 1000:.1f} k"


def _target(line: Line) -> str:
    if line.met is None:
        return line.target
    return f"{line.target} ({'met' if line.met else 'missed'})"
