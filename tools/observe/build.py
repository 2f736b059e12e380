"""Build of the programs, once, into the user's cache folder.

A binary appears under its name only when it is complete. Only one build runs at a time: a second
one waits for it and then uses its binaries.
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
from tools.observe.golang import BuildError, Go
from tools.observe.pins import (
    BUILDER,
    COLLECTOR,
    COLLECTOR_VERSION,
    MANIFEST,
    MODULES,
    PROGRAMS,
    compute_fingerprint,
)

Report = Callable[[str], None]
USUAL_DURATION = "four to eight minutes"
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Step:
    """Binaries that are built together; `make` writes them into a folder."""

    title: str
    binaries: tuple[str, ...]
    make: Callable[[Go, Path], None]


def get_cache_folder() -> Path:
    """Return the folder for the programs of the present pins; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "llm-sse-service" / "native" / compute_fingerprint()


def is_built(*, for_tests: bool = False) -> bool:
    """Return whether all programs are built, with `for_tests` those of the tests too."""
    return not _find_missing(get_cache_folder(), _list_steps(for_tests))


def build(report: Report, *, for_tests: bool = False) -> Path:
    """Build the missing programs and return the folder with all of them.

    `for_tests` includes the programs that only tests need. Raises BuildError.
    """
    folder = get_cache_folder()
    steps = _list_steps(for_tests)
    if not _find_missing(folder, steps):
        return folder
    go = golang.find_go()
    folder.mkdir(parents=True, exist_ok=True)
    with _lock_folder(folder, report):
        missing = _find_missing(folder, steps)
        if missing:
            report(f"Building into {folder}: once, {USUAL_DURATION} on two cores.")
        for number, step in enumerate(missing, 1):
            report(f"[{number}/{len(missing)}] {step.title}: downloading and compiling …")
            started = time.monotonic()
            _run_step(go, folder, step)
            report(f"[{number}/{len(missing)}] {step.title}: done in {_format_elapsed(started)}.")
    return folder


def _list_steps(for_tests: bool) -> list[Step]:
    wanted = [program for program in PROGRAMS if for_tests or not program.only_for_tests]
    return [
        Step(f"OpenTelemetry Collector {COLLECTOR_VERSION}", (COLLECTOR,), _build_collector),
        *(
            Step(program.title, tuple(program.binaries), partial(Go.build, program=program))
            for program in wanted
        ),
    ]


def _find_missing(folder: Path, steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if not all((folder / name).is_file() for name in step.binaries)]


def _run_step(go: Go, folder: Path, step: Step) -> None:
    for left_over in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as name:
        into = Path(name) / "out"
        into.mkdir()
        step.make(go, into)
        for binary in step.binaries:
            (into / binary).replace(folder / binary)  # atomic: a binary is complete or absent


def _build_collector(go: Go, into: Path) -> None:
    """Generate the collector's source with its builder; compile it with the committed modules."""
    sources = generate_sources(go, into.parent)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(MODULES / name, sources / name)
    go.compile(sources, ".", into / COLLECTOR)


def generate_sources(go: Go, folder: Path, *options: str) -> Path:
    """Let the collector's builder write the sources under `folder`; return their folder."""
    go.build(folder, BUILDER)
    done = subprocess.run(
        [
            str(folder / "builder"),
            f"--config={MANIFEST}",
            "--skip-compilation",
            *(options or ("--skip-get-modules",)),
        ],
        cwd=folder,
        env=golang.build_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"The collector's builder failed:\n{done.stderr.strip()}")
    return folder / "source"  # the manifest's output_path


@contextmanager
def _lock_folder(folder: Path, report: Report) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Another build is running; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _format_elapsed(started: float) -> str:
    seconds = round(time.monotonic() - started)
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"
