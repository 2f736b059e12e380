"""The go command: version check, verified downloads and compilation.

Failures are BuildErrors with a message for the user. This module does not know where the binaries
are stored.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.observe.pins import FLAGS, GO, Module, Program

INSTALL_HINT = "https://go.dev/doc/install, or your system's packages (golang, go)"
_VERSION = re.compile(r"go(\d+)\.(\d+)")
_LAST_LINES = 12


class BuildError(Exception):
    """The programs cannot be built; the message states the reason and a solution."""


@dataclass(frozen=True)
class Go:
    """A usable go command."""

    path: str

    def download(self, module: Module) -> Path:
        """Download a module and return the folder of its sources.

        Raises BuildError when the download fails or its checksum is not the pinned one.
        """
        name = f"{module.path}@{module.version}"
        done = self._run(("mod", "download", "-json", name), Path.home())
        answer = json.loads(done.stdout or "{}")
        if done.returncode or "Dir" not in answer:
            reason = answer.get("Error") or _tail(done.stderr)
            raise BuildError(f"The sources of {name} could not be downloaded:\n{reason}")
        if answer["Sum"] != module.sum:
            raise BuildError(
                f"The sources of {name} have the checksum {answer['Sum']}, not the pinned"
                f" {module.sum}. They were changed after publication; nothing was built."
            )
        return Path(answer["Dir"])

    def compile(self, sources: Path, package: str, binary: Path, tags: Sequence[str] = ()) -> None:
        """Compile one package; raises BuildError with the end of the compiler's output."""
        options = (*FLAGS, "-tags", ",".join(tags), "-o", str(binary), package)
        done = self._run(("build", *options), sources)
        if done.returncode:
            raise BuildError(f"{binary.name} could not be compiled:\n{_tail(done.stderr)}")

    def build(self, folder: Path, program: Program) -> None:
        """Download a program and compile all its binaries into `folder`."""
        # Run in the module's folder, so that its go.mod and go.sum apply.
        sources = self.download(program.module)
        for name, package in program.binaries.items():
            self.compile(sources, package, folder / name, program.tags)

    def _run(self, arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.path, *arguments],
            cwd=cwd,
            env=build_environment(),
            capture_output=True,
            text=True,
            check=False,
        )


def build_environment() -> dict[str, str]:
    """Return the environment of a build: the user's, without variables that change the result."""
    excluded = {"GOOS", "GOARCH"}
    inherited = {name: value for name, value in os.environ.items() if name not in excluded}
    return {
        **inherited,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        # Some modules contain a go.work file with folders that are not part of the module.
        "GOWORK": "off",
    }


def find_go() -> Go:
    """Return the go command on PATH; raises BuildError when it is missing or too old."""
    path = shutil.which("go")
    wanted = ".".join(map(str, GO))
    if path is None:
        raise BuildError(
            f"Go {wanted} or newer is needed; there is none on PATH. Get it: {INSTALL_HINT}."
        )
    version = _read_go_variable(path, "GOVERSION")
    toolchain = _read_go_variable(path, "GOTOOLCHAIN")
    found = _VERSION.match(version)
    if not found:
        raise BuildError(f"{path} does not report its version ({version or 'nothing'}).")
    has = (int(found[1]), int(found[2]))
    # Since 1.21 Go downloads a newer toolchain automatically, unless GOTOOLCHAIN forbids it.
    if has < GO and (has < (1, 21) or toolchain == "local"):
        raise BuildError(
            f"Go {wanted} or newer is needed; {path} is {version}. Get it: {INSTALL_HINT}."
        )
    return Go(path)


def _read_go_variable(path: str, name: str) -> str:
    done = subprocess.run(
        [path, "env", name], capture_output=True, text=True, check=False, cwd=Path.home()
    )
    return done.stdout.strip()


def _tail(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-_LAST_LINES:])
