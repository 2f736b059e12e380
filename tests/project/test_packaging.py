"""What is around the code holds together: README, make, locks, container, CI."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from service.version import VERSION
from tests._support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LOCKS = ["requirements.lock", "requirements-dev.lock"]
SETTINGS = {name.upper() for name in Settings.model_fields}


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def _pythons() -> list[str]:
    """Return the versions that requires-python allows."""
    wanted = tomllib.loads(_text("pyproject.toml"))["project"]["requires-python"]
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", wanted)
    assert bounds
    return [f"3.{minor}" for minor in range(int(bounds[1]), int(bounds[2]))]


# --- make ---


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", _text("Makefile"), re.MULTILINE))


def test_every_make_target_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", _text("README.md")))
    assert named <= _targets()


def test_the_readme_names_every_make_target() -> None:
    assert not {name for name in _targets() if f"`make {name}`" not in _text("README.md")}


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.split()[0] for line in shown.stdout.splitlines()} == _targets()


def test_every_target_is_phony() -> None:
    declared = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", _text("Makefile"), re.MULTILINE)
    assert declared
    assert set(declared[1].replace("\\", "").split()) == _targets()


# --- checks on a clean checkout ---


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert re.search(r"^make test\b", _text("README.md"), re.MULTILINE)
    assert re.search(r"^make test$", _text(".ci/run"), re.MULTILINE)


def test_ci_stops_at_the_first_failure() -> None:
    assert "\nset -euo pipefail\n" in _text(".ci/run")


def test_ci_says_so_when_there_is_no_suitable_python() -> None:
    env = {**os.environ, "PYTHON": "no-such-python"}
    ended = subprocess.run(["bash", ".ci/run"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 1
    assert all(version in ended.stderr for version in _pythons())


def test_ci_accepts_the_versions_that_the_package_does() -> None:
    found = re.search(r"\((\d+), (\d+)\) <= sys\S+ <= \((\d+), (\d+)\)", _text(".ci/run"))
    assert found
    bounds = [".".join(pair) for pair in (found.group(1, 2), found.group(3, 4))]
    assert bounds == [_pythons()[0], _pythons()[-1]]


def test_the_workflow_tests_every_supported_python() -> None:
    workflow = _text(".github/workflows/ci.yml")
    matrix = re.search(r"python: \[(.+)\]", workflow)
    assert matrix
    assert [each.strip(' "') for each in matrix[1].split(",")] == _pythons()
    assert "run: bash .ci/run" in workflow


def test_the_workflow_pins_its_actions() -> None:
    used = re.findall(r"uses: (\S+)", _text(".github/workflows/ci.yml"))
    assert used
    assert all(re.search(r"@(v\d+|[0-9a-f]{40})$", action) for action in used)


# --- locks ---


def _locked(lock: str) -> dict[str, str]:
    """Return each package's requirement, with all its lines."""
    entries = re.findall(r"^[A-Za-z0-9].*(?:\n .*)*", _text(lock), re.MULTILINE)
    return {re.split(r"[=\[ ]", entry)[0]: entry for entry in entries}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(lock: str) -> None:
    for name, entry in _locked(lock).items():
        assert re.match(r"[A-Za-z0-9._\[\]-]+==[^\s;]+[ ;]", entry), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_an_address(lock: str) -> None:
    assert "://" not in _text(lock)


def test_the_tests_run_with_what_the_service_is_locked_to() -> None:
    run, dev = (_locked(lock) for lock in LOCKS)
    assert {name: entry.split()[0] for name, entry in run.items()} == {
        name: dev[name].split()[0] for name in run
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_locked(lock: str) -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    wanted = list(project["dependencies"])
    if lock == "requirements-dev.lock":
        wanted += project["optional-dependencies"]["dev"]
    assert {re.split(r"[^A-Za-z0-9_-]", each)[0] for each in wanted} <= set(_locked(lock))


# --- container ---


def _last_stage() -> str:
    return re.split(r"^FROM ", _text("Dockerfile"), flags=re.MULTILINE)[-1]


def test_the_container_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", _last_stage(), re.MULTILINE)
    assert users
    assert "0" not in users[-1]


def test_the_container_installs_exactly_what_is_locked() -> None:
    installs = re.findall(r"pip install (?:.*\\\n)*.*", _text("Dockerfile"))
    assert len(installs) == 1
    assert installs[0].endswith("--require-hashes -r requirements.lock")


def test_the_container_uses_a_supported_python() -> None:
    versions = set(re.findall(r"^FROM python:(3\.\d+)-", _text("Dockerfile"), re.MULTILINE))
    assert len(versions) == 1
    assert versions <= set(_pythons())


def test_the_containers_process_gets_signals_itself() -> None:
    assert 'ENTRYPOINT ["python", "-m", "service"]' in _last_stage()
    assert 'CMD ["serve"]' in _last_stage()


def test_what_the_container_copies_is_let_through_to_the_build() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", _text("Dockerfile"), re.MULTILINE)
    wanted = {name for line in copied for name in line.split()}
    assert {f"!{name}" for name in wanted} <= set(_text(".dockerignore").splitlines())
    assert all((ROOT / name).exists() for name in wanted)


# --- compose ---


def _app() -> dict[str, Any]:
    app: dict[str, Any] = yaml.safe_load(_text("docker-compose.yml"))["services"]["app"]
    return app


def test_compose_sets_only_settings_that_exist() -> None:
    names = {name for name in _app()["environment"] if not name.startswith("OTEL_")}
    assert names <= SETTINGS


def test_compose_waits_longer_than_a_drain() -> None:
    grace_s = int(_app()["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().drain_s + 10  # what the supervisor allows past the drain


@pytest.mark.parametrize("path", ["Dockerfile", "docker-compose.yml"])
def test_the_health_check_asks_an_address_that_exists(path: str) -> None:
    asked = re.search(r"http://127\.0\.0\.1:8080(/\S+?)'", _text(path))
    assert asked
    assert f'@app.get("{asked[1]}")' in _text("service/api/health.py")


# --- pages ---


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
            if "://" not in link:
                yield page, link


def _anchors(page: Path) -> set[str]:
    """Return the fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize(("page", "link"), list(_links()), ids=lambda each: Path(each).name)
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    path, _, fragment = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    assert not fragment or fragment in _anchors(target)


def test_the_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## (\S+)", _text("CHANGELOG.md"), re.MULTILINE)
    assert first
    assert first[1] == VERSION
