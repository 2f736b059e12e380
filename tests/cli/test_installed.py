"""The package as it is installed with pip."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.version import VERSION
from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import environment


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *build], check=True, timeout=PATIENCE_S, cwd=folder)
    [wheel] = folder.glob("*.whl")
    target = ["install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)]
    subprocess.run([*pip, *target], check=True, timeout=PATIENCE_S, cwd=folder)
    return folder


def test_the_wheel_has_every_file_of_the_packages(installed: Path) -> None:
    [wheel] = installed.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "service", "telemetry"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(listed) <= packed
    assert "service/ensembles/shipped.toml" in packed


def test_the_installed_command_answers_in_any_folder(installed: Path, tmp_path: Path) -> None:
    variables = environment({"XDG_DATA_HOME": str(tmp_path / "data")})
    variables["PYTHONPATH"] = os.pathsep.join([str(installed / "site"), *sys.path[1:]])
    command = [sys.executable, str(installed / "site" / "bin" / "llm-sse")]
    version = subprocess.run(
        [*command, "--version"], env=variables, cwd=tmp_path, capture_output=True, text=True
    )
    assert version.stdout.strip() == VERSION
    asked = subprocess.run(
        [*command, "ask", "--ensemble", "solo", "Why?"],
        env=variables,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()
