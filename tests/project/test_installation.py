"""Installation by make: made-up locks on each supported Python, and a dry run of the real ones.

A made-up registry offers newer versions of everything, as the real one will some day.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests._support.installation import (
    INSTALLED,
    NEWER,
    RUNNING,
    Project,
    find_interpreter,
    kill_while_installing,
    run,
    write_wheel,
)
from tests._support.locks import LOCKS, PIP_LOCK, PYTHONS, locked_requirements
from tests._support.missing import miss
from tests._support.paths import ROOT
from tools.install import pip_command


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project for the running Python after its first installation was killed."""
    project = Project(tmp_path_factory.mktemp("project"), find_interpreter(RUNNING))
    kill_while_installing(project)
    return project


@pytest.fixture(scope="module")
def repaired(interrupted: Project) -> subprocess.CompletedProcess[str]:
    """Return the result of the next make, with the environment active."""
    return interrupted.make(f"PYTHON={interrupted.venv}/bin/python")


@pytest.fixture
def project(interrupted: Project, repaired: subprocess.CompletedProcess[str]) -> Project:
    """Return a project for the running Python, with its locks installed."""
    assert repaired.returncode == 0, repaired.stdout
    return interrupted


# --- installation ---


def test_pip_verifies_hashes_and_does_not_resolve() -> None:
    command = pip_command(Path(".venv"), Path("requirements.lock"))
    assert {"--require-hashes", "--no-deps"} <= set(command)


def installation_lines(version: str) -> list[str]:
    return [
        f"Creating .venv with Python {version}",
        "Installing 2 packages of requirements.lock into .venv",
        "Installing 3 packages of requirements-dev.lock into .venv",
    ]


def lines_without_patch_version(output: str) -> list[str]:
    return [re.sub(r"(Python \d+\.\d+)\S+", r"\1", line) for line in output.splitlines()]


def test_a_killed_installation_is_repaired_by_the_next_make(
    project: Project, repaired: subprocess.CompletedProcess[str]
) -> None:
    recreation = [".venv is incomplete: recreating it", *installation_lines(RUNNING)]
    assert lines_without_patch_version(repaired.stdout) == recreation
    assert project.installed() == INSTALLED


def test_the_make_after_an_installation_has_nothing_to_do(project: Project) -> None:
    assert re.fullmatch(r"make: '\S+' is up to date\.\n", project.make().stdout)


@pytest.mark.parametrize("version", [each for each in PYTHONS if each != RUNNING])
def test_the_pip_bundled_with_another_python_installs_the_pinned_versions(
    version: str, tmp_path: Path
) -> None:
    project = Project(tmp_path, find_interpreter(version))
    made = project.make()
    assert made.returncode == 0, made.stdout
    assert lines_without_patch_version(made.stdout) == installation_lines(version)
    assert project.installed() == INSTALLED


def test_a_pip_that_resolves_would_choose_a_newer_version(project: Project) -> None:
    """Otherwise the made-up registry would not show that nothing is resolved."""
    pip = [str(project.venv / "bin/python"), "-m", "pip"]
    command = [*pip, "install", "--dry-run", "--ignore-installed", "plugin==1.0"]
    resolved = run(command, project.folder, project.environ())
    assert f"measure-{NEWER}" in resolved.stdout


def test_a_wrong_hash_is_refused_and_changes_nothing(project: Project) -> None:
    lock = project.folder / "requirements-dev.lock"
    right = lock.read_text("utf-8")
    write_wheel(project.wheels, "tool", "1.1")
    lock.write_text(right.replace("tool==1.0", "tool==1.1"), "utf-8")
    failed = project.make()
    lock.write_text(right, "utf-8")
    assert failed.returncode == 2
    assert "DO NOT MATCH THE HASHES" in failed.stdout
    assert "requirements-dev.lock was not installed, .venv is unchanged." in failed.stdout
    assert project.installed() == INSTALLED
    assert not project.unfinished.exists()


def test_an_environment_without_its_interpreter_is_installed_again(project: Project) -> None:
    python = project.venv / "bin/python"
    target = python.readlink()
    python.unlink()
    python.symlink_to("removed")
    try:
        assert project.make("--question").returncode == 1
    finally:
        python.unlink()
        python.symlink_to(target)


def test_a_folder_that_is_not_an_environment_is_not_removed(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "notes").touch()
    command = [project.python, "tools/install.py", str(tmp_path), "requirements.lock"]
    refused = run(command, project.folder, project.environ())
    assert refused.returncode == 1
    assert f"{tmp_path} is not a virtual environment: remove it" in refused.stdout
    assert (tmp_path / "notes").exists()


def test_a_second_installation_waits_for_the_first(project: Project) -> None:
    command = [project.python, "tools/install.py", ".venv", "requirements.lock"]
    with (project.folder / ".venv.lock").open() as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = subprocess.Popen(
            command, cwd=project.folder, env=project.environ(), stdout=subprocess.PIPE, text=True
        )
        assert second.stdout
        assert second.stdout.readline() == "Waiting for another installation into .venv\n"
    assert second.communicate()[0] == ""
    assert second.returncode == 0


# --- the real locks ---


def offer_newer_versions(project: Project, folder: Path) -> dict[str, str]:
    """Return an environment for pip with newer wheels beside what the registry has."""
    pip = [str(project.venv / "bin/python"), "-m", "pip"]
    (pinned,) = locked_requirements(PIP_LOCK)
    command = [*pip, "install", "--dry-run", "--ignore-installed", "--no-deps", str(pinned)]
    if run(command, ROOT, dict(os.environ)).returncode:
        miss(f"installation of the locks: there is no registry with {pinned}")
    for each in [pinned, *locked_requirements("requirements-dev.lock")]:
        write_wheel(folder, each.name, NEWER)
    links = f"{os.environ.get('PIP_FIND_LINKS', '')} {folder}"
    return {**os.environ, "PIP_FIND_LINKS": links.strip()}


@pytest.mark.timeout(600)  # they are a quarter of a gigabyte
def test_the_locks_install_although_newer_versions_are_offered(
    project: Project, tmp_path: Path
) -> None:
    """The pinned pip is installed, the rest is downloaded and verified, but not unpacked."""
    environ = offer_newer_versions(project, tmp_path)
    command = [project.python, "tools/install.py", str(project.venv)]
    installed = run([*command, PIP_LOCK], ROOT, environ)
    assert installed.returncode == 0, installed.stdout
    for lock in LOCKS:
        verified = run([*command, lock], ROOT, {**environ, "PIP_DRY_RUN": "1"})
        assert verified.returncode == 0, verified.stdout
        applicable = [
            each for each in locked_requirements(lock) if not each.marker or each.marker.evaluate()
        ]
        assert f"Installing {len(applicable)} packages of {lock}" in verified.stdout
