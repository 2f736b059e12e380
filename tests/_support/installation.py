"""A project with made-up locks, packages and a registry, to install with make."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests._support.locks import PIP_LOCK
from tests._support.paths import ROOT

RUNNING = ".".join(map(str, sys.version_info[:2]))
NEWER = "9999.0"
INSTALLED = {"plugin-1.0", "measure-1.0", "tool-1.0"}


def find_interpreter(version: str) -> str:
    """Return an interpreter of this version, outside any environment, that can make one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates = [f"python{version}", *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    if version == RUNNING:
        candidates.insert(0, os.path.realpath(sys.executable))
    for each in candidates:
        try:
            subprocess.run([each, "-c", "import ensurepip"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return each
    # Also with CI=true, where each version has a job of its own.
    pytest.skip(f"NOT TESTED, installation on Python {version}: there is none that has ensurepip")


def write_wheel(folder: Path, name: str, version: str, *requirements: str) -> str:
    """Write a wheel with one empty module, and return its line in a lock."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: toml\n"]
    metadata += [f"Requires-Dist: {each}\n" for each in requirements]
    files = {
        f"{stem}.py": "",
        f"{info}/METADATA": "".join(metadata),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    path = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for each, text in files.items():
            wheel.writestr(each, text)
    return lock_line(name, version, path)


def lock_line(name: str, version: str, wheel: Path) -> str:
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


class Project:
    """The Makefile and the installer, with made-up locks and packages."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.python = folder, python
        self.venv = folder / ".venv"
        self.unfinished = folder / ".venv.unfinished"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        (folder / "tools").mkdir()
        for file in ("Makefile", "tools/install.py"):
            shutil.copy(ROOT / file, folder / file)
        # As pytest-cov requires coverage[toml], of which a newer version appeared.
        plugin = write_wheel(self.wheels, "plugin", "1.0", "measure[toml]>=1")
        measure = write_wheel(self.wheels, "measure", "1.0")
        tool = write_wheel(self.wheels, "tool", "1.0")
        for name in ("plugin", "measure", "tool"):
            write_wheel(self.wheels, name, NEWER)
        excluded = f"excluded==1.0 ; sys_platform == 'win32' --hash=sha256:{'0' * 64}\n"
        self.write(PIP_LOCK, self._lock_bundled_pip())
        self.write("requirements.lock", plugin + measure)
        self.write("requirements-dev.lock", plugin + measure + tool + excluded)

    def _lock_bundled_pip(self) -> str:
        code = "import ensurepip; print(ensurepip.__path__[0], ensurepip.version())"
        command = [self.python, "-c", code]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        folder, version = found.stdout.split()
        (wheel,) = Path(folder).glob("_bundled/pip-*.whl")
        shutil.copy(wheel, self.wheels)
        return lock_line("pip", version, wheel)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def environ(self) -> dict[str, str]:
        offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
        wheels = {"PIP_FIND_LINKS": str(self.wheels)}
        # Without the options and variables of an outer make.
        return {**os.environ, **offline, **wheels, "MAKEFLAGS": "", "MAKELEVEL": ""}

    def make_command(self, *options: str) -> list[str]:
        variables = [f"PYTHON={self.python}", "VENV=.venv"]
        return ["make", *variables, ".venv/.installed-dev", *options]

    def make(self, *options: str) -> subprocess.CompletedProcess[str]:
        return run(self.make_command(*options), self.folder, self.environ())

    def installed(self) -> set[str]:
        """Return the name and version of each made-up package that has its module."""
        return {
            path.stem
            for path in self.venv.glob("lib/python*/site-packages/*-*.dist-info")
            if (path.parent / f"{path.stem.split('-')[0]}.py").exists()
        }


def run(
    command: list[str], folder: Path, environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_while_installing(project: Project) -> None:
    """Start make, and kill it with all its processes when the environment has an interpreter."""
    with subprocess.Popen(
        project.make_command(), cwd=project.folder, env=project.environ(), start_new_session=True
    ) as make:
        while not (project.venv / "bin/python").exists():
            assert make.poll() is None
            time.sleep(0.01)
        os.killpg(make.pid, signal.SIGKILL)
