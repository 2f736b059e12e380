"""The lock files as requirements, and the versions of Python that they are for."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tests._support.paths import ROOT

PIP_LOCK = "requirements-pip.lock"
LOCKS = ["requirements.lock", "requirements-dev.lock"]
REAL_LOCK = "tests/real/requirements.lock"
NODE_LOCKS = ["tests/clients/node/package-lock.json", "tests/real/node/package-lock.json"]


def supported_pythons() -> list[str]:
    """Return the versions that requires-python allows."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "requires-python"
    ]
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", wanted)
    assert bounds
    return [f"3.{minor}" for minor in range(int(bounds[1]), int(bounds[2]))]


PYTHONS = supported_pythons()


def lock_entries(lock: str) -> dict[str, str]:
    """Return each package's requirement in a lock, with all its lines."""
    text = (ROOT / lock).read_text("utf-8")
    entries = re.findall(r"^[A-Za-z0-9].*(?:\n .*)*", text, re.MULTILINE)
    return {re.split(r"[=\[ ]", entry)[0]: entry for entry in entries}


def locked_requirements(lock: str) -> list[Requirement]:
    """Return the requirements of a lock, with versions and markers and without hashes."""
    entries = lock_entries(lock).values()
    return [Requirement(entry.splitlines()[0].rstrip("\\ ")) for entry in entries]
