"""The program and the system of a login, from its header `User-Agent`. No I/O."""

from __future__ import annotations

import re
from typing import Final

# The first that is found counts: Edge and Opera also name Chrome, and Chrome also names Safari.
_PROGRAMS: Final = (
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/(\d+)")),
    ("Opera", re.compile(r"OPR/(\d+)")),
    ("Firefox", re.compile(r"(?:Firefox|FxiOS)/(\d+)")),
    ("Chrome", re.compile(r"(?:Chrome|CriOS)/(\d+)")),
    ("Safari", re.compile(r"Version/(\d+).*Safari/")),
)
_SYSTEMS: Final = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip
_MAX_CHARS: Final = 80


def describe_program(user_agent: str) -> str:
    """Return words such as `Firefox 140 on Linux`, for an unknown program the header's start."""
    found = ((name, pattern.search(user_agent)) for name, pattern in _PROGRAMS)
    program = next((f"{name} {match[1]}" for name, match in found if match), None)
    if program is None:
        return user_agent[:_MAX_CHARS] or "an unknown program"
    system = next((name for sign, name in _SYSTEMS if sign in user_agent), None)
    return f"{program} on {system}" if system else program
