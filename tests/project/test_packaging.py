"""Consistency of the files around the code: README, make, container, CI."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from service.version import VERSION
from tests._support.locks import PYTHONS
from tests._support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = {name.upper() for name in Settings.model_fields}


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


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
    assert re.search(r"^make test\b", _text(".ci/run"), re.MULTILINE)


def test_ci_stops_at_the_first_failure() -> None:
    assert "\nset -euo pipefail\n" in _text(".ci/run")


def test_ci_says_so_when_there_is_no_suitable_python() -> None:
    env = {**os.environ, "PYTHON": "no-such-python"}
    ended = subprocess.run(["bash", ".ci/run"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 1
    assert all(version in ended.stderr for version in PYTHONS)


def test_ci_accepts_the_versions_that_the_package_does() -> None:
    found = re.search(r"\((\d+), (\d+)\) <= sys\S+ <= \((\d+), (\d+)\)", _text(".ci/run"))
    assert found
    bounds = [".".join(pair) for pair in (found.group(1, 2), found.group(3, 4))]
    assert bounds == [PYTHONS[0], PYTHONS[-1]]


def test_the_workflow_tests_every_supported_python() -> None:
    workflow = _text(".github/workflows/ci.yml")
    matrix = re.search(r"python: \[(.+)\]", workflow)
    assert matrix
    assert [each.strip(' "') for each in matrix[1].split(",")] == PYTHONS
    assert "run: bash .ci/run" in workflow


def test_the_workflow_pins_its_actions() -> None:
    used = re.findall(r"uses: (\S+)", _text(".github/workflows/ci.yml"))
    assert used
    assert all(re.search(r"@(v\d+|[0-9a-f]{40})$", action) for action in used)


# --- container ---


def _last_stage() -> str:
    return re.split(r"^FROM ", _text("Dockerfile"), flags=re.MULTILINE)[-1]


def test_the_container_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", _last_stage(), re.MULTILINE)
    assert users
    assert "0" not in users[-1]


def test_the_container_installs_exactly_what_is_locked() -> None:
    installs = re.findall(r"pip install (.*?)(?: && \\)?$", _text("Dockerfile"), re.MULTILINE)
    assert installs == [
        f"--require-hashes --no-deps -r {lock}"
        for lock in ("requirements-pip.lock", "requirements.lock")
    ]


def test_the_container_uses_a_supported_python() -> None:
    versions = set(re.findall(r"^FROM python:(3\.\d+)-", _text("Dockerfile"), re.MULTILINE))
    assert len(versions) == 1
    assert versions <= set(PYTHONS)


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
    assert grace_s > Settings().drain_s + 10  # the time that the supervisor allows after the drain


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
