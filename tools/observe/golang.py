"""The go command: found, new enough, downloading what a checksum allows, compiling.

Raises Unbuildable with a sentence for the reader; knows nothing of where results are kept.
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

WHERE = "https://go.dev/doc/install, or your system's packages (golang, go)"
_VERSION = re.compile(r"go(\d+)\.(\d+)")
_LAST_LINES = 12


class Unbuildable(Exception):
    """Why the programs cannot be built here, and what would help."""


@dataclass(frozen=True)
class Go:
    """A usable go command."""

    path: str

    def download(self, module: Module) -> Path:
        """Return the folder of a module's sources.

        Raises Unbuildable when it cannot be had, or is not what was pinned.
        """
        name = f"{module.path}@{module.version}"
        done = self._run(("mod", "download", "-json", name), Path.home())
        told = json.loads(done.stdout or "{}")
        if done.returncode or "Dir" not in told:
            why = told.get("Error") or _tail(done.stderr)
            raise Unbuildable(f"The sources of {name} could not be downloaded:\n{why}")
        if told["Sum"] != module.sum:
            raise Unbuildable(
                f"The sources of {name} have the checksum {told['Sum']}, and not the pinned"
                f" {module.sum}. They were changed after they were published; nothing was built."
            )
        return Path(told["Dir"])

    def compile(self, sources: Path, package: str, binary: Path, tags: Sequence[str] = ()) -> None:
        """Compile one package; raises Unbuildable with the end of the compiler's words."""
        options = (*FLAGS, "-tags", ",".join(tags), "-o", str(binary), package)
        done = self._run(("build", *options), sources)
        if done.returncode:
            raise Unbuildable(f"{binary.name} could not be compiled:\n{_tail(done.stderr)}")

    def build(self, folder: Path, program: Program) -> None:
        """Download a program and compile all its binaries into `folder`."""
        # Inside the module's own folder, so that its go.mod and go.sum rule.
        sources = self.download(program.module)
        for name, package in program.binaries.items():
            self.compile(sources, package, folder / name, program.tags)

    def _run(self, arguments: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.path, *arguments],
            cwd=cwd,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )


def environment() -> dict[str, str]:
    """Return the user's environment, with their proxy, and what a build must not inherit."""
    kept = {name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH"}}
    return {
        **kept,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        # Modules are published with a go.work that names folders which are not published.
        "GOWORK": "off",
    }


def find() -> Go:
    """Return the go command of this machine; raises Unbuildable when it will not do."""
    path = shutil.which("go")
    wanted = ".".join(map(str, GO))
    if path is None:
        raise Unbuildable(
            f"Go {wanted} or newer is needed; there is none on PATH. Get it: {WHERE}."
        )
    version, toolchain = _asked(path, "GOVERSION"), _asked(path, "GOTOOLCHAIN")
    found = _VERSION.match(version)
    if not found:
        raise Unbuildable(f"{path} does not say its version ({version or 'nothing'}).")
    has = (int(found[1]), int(found[2]))
    # From 1.21 on, Go fetches a newer one by itself unless it is told not to.
    if has < GO and (has < (1, 21) or toolchain == "local"):
        raise Unbuildable(f"Go {wanted} or newer is needed; {path} is {version}. Get it: {WHERE}.")
    return Go(path)


def _asked(path: str, name: str) -> str:
    done = subprocess.run(
        [path, "env", name], capture_output=True, text=True, check=False, cwd=Path.home()
    )
    return done.stdout.strip()


def _tail(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-_LAST_LINES:])
