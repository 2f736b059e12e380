"""Builds the programs once into the user's cache and finds them there afterwards.

Each binary appears under its name only when it is whole. One build at a time: a second one waits
and then finds everything done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.observe import golang
from tools.observe.golang import Go, Unbuildable
from tools.observe.pins import (
    BUILDER,
    COLLECTOR,
    COLLECTOR_VERSION,
    MANIFEST,
    MODULES,
    PROGRAMS,
    fingerprint,
)

Tell = Callable[[str], None]
EXPECTED = "four to eight minutes"
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Step:
    """Some binaries and how they are made: `make` puts them into a folder."""

    title: str
    binaries: tuple[str, ...]
    make: Callable[[Go, Path], None]


def cache() -> Path:
    """Return the folder that holds, or will hold, the programs of these very pins."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "llm-sse-service" / "native" / fingerprint()


def is_built(*, all_of_them: bool = False) -> bool:
    """Return whether there is nothing left to build."""
    return not _missing(cache(), _steps(all_of_them))


def build(tell: Tell, *, all_of_them: bool = False) -> Path:
    """Return the folder with the programs, building those that are missing.

    Without `all_of_them` those that only tests need are left out. Raises Unbuildable.
    """
    folder = cache()
    steps = _steps(all_of_them)
    if not _missing(folder, steps):
        return folder
    go = golang.find()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, tell):
        missing = _missing(folder, steps)
        if missing:
            tell(f"Building into {folder}: once, {EXPECTED} on two cores.")
        for number, step in enumerate(missing, 1):
            tell(f"[{number}/{len(missing)}] {step.title}: downloading and compiling …")
            began = time.monotonic()
            _make(go, folder, step)
            tell(f"[{number}/{len(missing)}] {step.title}: done in {_duration(began)}.")
    return folder


def _steps(all_of_them: bool) -> list[Step]:
    wanted = [program for program in PROGRAMS if all_of_them or not program.only_for_tests]
    return [
        Step(f"OpenTelemetry Collector {COLLECTOR_VERSION}", (COLLECTOR,), _collector),
        *(
            Step(program.title, tuple(program.binaries), partial(Go.build, program=program))
            for program in wanted
        ),
    ]


def _missing(folder: Path, steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if not all((folder / name).is_file() for name in step.binaries)]


def _make(go: Go, folder: Path, step: Step) -> None:
    for left_over in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as name:
        into = Path(name) / "out"
        into.mkdir()
        step.make(go, into)
        for binary in step.binaries:
            (into / binary).replace(folder / binary)  # in one go: whole, or not there


def _collector(go: Go, into: Path) -> None:
    """Generate the collector's source by its builder and compile it with the committed modules."""
    sources = generated(go, into.parent)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(MODULES / name, sources / name)
    go.compile(sources, ".", into / COLLECTOR)


def generated(go: Go, folder: Path, *options: str) -> Path:
    """Return the folder with the collector's sources that the builder wrote, under `folder`."""
    go.build(folder, BUILDER)
    done = subprocess.run(
        [
            str(folder / "builder"),
            f"--config={MANIFEST}",
            "--skip-compilation",
            *(options or ("--skip-get-modules",)),
        ],
        cwd=folder,
        env=golang.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unbuildable(f"The collector's builder failed:\n{done.stderr.strip()}")
    return folder / "source"  # as the manifest's output_path has it


@contextmanager
def _locked(folder: Path, tell: Tell) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("Another build is under way; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _duration(began: float) -> str:
    seconds = round(time.monotonic() - began)
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"
