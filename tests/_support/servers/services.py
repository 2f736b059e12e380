"""Types and values of the fixtures that start services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests._support.servers.processes import Process

KEY = "sk-this-key-must-never-be-seen-0123456789"


Start = Callable[..., Process]


Told = Callable[[Path], dict[str, str]]
