"""The lock files: pinned, consistent, and complete for every supported Python."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from typing import cast

import pytest
from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests._support.locks import (
    LOCKS,
    NODE_LOCKS,
    PIP_LOCK,
    PYTHONS,
    REAL_LOCK,
    lock_entries,
    locked_requirements,
)
from tests._support.paths import ROOT


@pytest.mark.parametrize("lock", [PIP_LOCK, *LOCKS, REAL_LOCK])
def test_every_locked_package_has_one_version_and_hashes(lock: str) -> None:
    for name, entry in lock_entries(lock).items():
        assert re.match(r"[A-Za-z0-9._\[\]-]+==[^\s;]+[ ;]", entry), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name


@pytest.mark.parametrize("lock", [PIP_LOCK, *LOCKS, REAL_LOCK])
def test_no_lock_names_an_address(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text("utf-8")


@pytest.mark.parametrize("lock", NODE_LOCKS)
def test_no_lock_of_npm_names_an_address(lock: str) -> None:
    assert '"resolved"' not in (ROOT / lock).read_text("utf-8")


def test_the_tests_run_with_what_the_service_is_locked_to() -> None:
    run, dev = (lock_entries(lock) for lock in LOCKS)
    assert {name: entry.split()[0] for name, entry in run.items()} == {
        name: dev[name].split()[0] for name in run
    }


@pytest.mark.parametrize("patch", [0, 99])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_exactly_what_its_packages_require(lock: str, python: str, patch: int) -> None:
    """Nothing is resolved at installation, so that a gap would not be filled."""
    environment = default_environment()
    environment["python_version"] = python
    environment["python_full_version"] = f"{python}.{patch}"
    pinned = {
        canonicalize_name(each.name): next(iter(each.specifier)).version
        for each in locked_requirements(lock)
        if applies(each, environment)
    }
    required = set()
    for requirement in all_requirements(lock, environment):
        name = canonicalize_name(requirement.name)
        assert name in pinned, requirement
        assert requirement.specifier.contains(pinned[name], prereleases=True), requirement
        required.add(name)
    assert required == set(pinned)


def applies(requirement: Requirement, environment: Environment, extra: str = "") -> bool:
    values = {**environment, "extra": extra}
    return not requirement.marker or requirement.marker.evaluate(cast("dict[str, str]", values))


def all_requirements(lock: str, environment: Environment) -> Iterator[Requirement]:
    """Yield the project's requirements and those of every package that they require."""
    remaining = project_requirements(lock, environment)
    seen = set()
    while remaining:
        requirement = remaining.pop()
        if str(requirement) not in seen:
            seen.add(str(requirement))
            yield requirement
            remaining += package_requirements(requirement, environment)


def project_requirements(lock: str, environment: Environment) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = list(project["dependencies"])
    if lock == "requirements-dev.lock":
        lines += project["optional-dependencies"]["dev"]
    return [each for each in map(Requirement, lines) if applies(each, environment)]


def package_requirements(package: Requirement, environment: Environment) -> list[Requirement]:
    """Return the requirements of a package, from the metadata of the installed one.

    A package for other Pythons only is not installed, and not followed.
    """
    try:
        lines = metadata(package.name).get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return []
    return [
        each
        for each in map(Requirement, lines)
        if any(applies(each, environment, extra) for extra in {"", *package.extras})
    ]
