"""Installation of a lock file into a virtual environment, without resolving.

Usage: python tools/install.py VENV LOCK

Runs before anything is installed, so it needs only the standard library. A lock lists every
package with its version and hashes: pip installs exactly these, and never considers a version
that a lock does not pin. The pip that does it is pinned too.
"""

from __future__ import annotations

import fcntl
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PIP_LOCK = Path("requirements-pip.lock")
PACKAGES_PER_LINE = 20  # of progress
# Outside any environment, because the active one may be the one that is recreated.
PYTHON = os.path.realpath(sys.executable)

_print = functools.partial(print, flush=True)  # make may write to a pipe


class InstallationFailed(Exception):
    """A failure that leaves the environment incomplete, with a message for the user."""


class NothingInstalled(InstallationFailed):
    """A failure before anything in the environment changed."""


def pip_command(venv: Path, lock: Path) -> list[str]:
    """Return the command that installs a lock into an environment."""
    pip = [str(venv / "bin/python"), "-m", "pip", "install"]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    return [*pip, *quiet, "--require-hashes", "--no-deps", "--requirement", str(lock)]


def main(venv: Path, lock: Path) -> int:
    """Install the pinned pip and a lock, and return the exit status."""
    try:
        with _exclusive(venv):
            _install_all(venv, [PIP_LOCK, lock])
    except (InstallationFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def _exclusive(venv: Path) -> Iterator[None]:
    """Let one process at a time install into an environment.

    The lock file is beside the environment, which may be removed meanwhile.
    """
    venv.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{venv}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _print(f"Waiting for another installation into {venv}")
            fcntl.flock(file, fcntl.LOCK_EX)
        # A pip that outlives this process retains the lock.
        os.set_inheritable(file.fileno(), True)
        yield


def _install_all(venv: Path, locks: list[Path]) -> None:
    unfinished = Path(f"{venv}.unfinished")  # exists after an interruption
    if unfinished.exists() or not _can_install(venv):
        _remove(venv, was_interrupted=unfinished.exists())
        unfinished.touch()
        _create(venv)
    unfinished.touch()
    try:
        for lock in locks:
            _install(venv, lock)
    except NothingInstalled:
        unfinished.unlink()
        raise
    unfinished.unlink()


def _can_install(venv: Path) -> bool:
    """Return whether the environment's interpreter runs and has a pip."""
    try:
        command = [str(venv / "bin/python"), "-c", "import pip"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _remove(venv: Path, *, was_interrupted: bool) -> None:
    """Remove an incomplete environment; refuse to remove any other folder."""
    if not venv.exists() or not any(venv.iterdir()):
        return
    if not was_interrupted and not (venv / "pyvenv.cfg").exists():
        raise InstallationFailed(
            f"{venv} is not a virtual environment: remove it, or set VENV to another folder."
        )
    _print(f"{venv} is incomplete: recreating it")
    shutil.rmtree(venv)


def _create(venv: Path) -> None:
    _print(f"Creating {venv} with Python {platform.python_version()}")
    if subprocess.run([PYTHON, "-m", "venv", venv]).returncode:
        raise InstallationFailed(
            f"{venv} could not be created: correct the error above, then run make again."
        )


def _install(venv: Path, lock: Path) -> None:
    """Install one lock with a report of the progress; pip writes its errors to stderr."""
    command = pip_command(venv, lock)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, close_fds=False) as pip:
        has_changed = _report_progress(pip.stdout or [], venv, lock)
    if not pip.returncode:
        return
    advice = "Correct the error above, then run make again"
    if not has_changed:
        raise NothingInstalled(f"{lock} was not installed, {venv} is unchanged. {advice}.")
    raise InstallationFailed(f"{lock} was installed in part. {advice}: it recreates {venv}.")


def _report_progress(output: Iterable[str], venv: Path, lock: Path) -> bool:
    """Print what is being installed, and return whether pip changed the environment."""
    total = len(re.findall(r"^\w", lock.read_text("utf-8"), re.MULTILINE))
    found, is_announced, has_changed = 0, False, False
    for line in output:
        if line.startswith("Ignoring "):  # its marker excludes this Python or system
            total -= 1
        elif line.startswith(("Requirement already satisfied", "Collecting ", "Processing ")):
            found += 1
            if not is_announced and not line.startswith("Requirement"):
                is_announced = True
                packages = "1 package" if total == 1 else f"{total} packages"
                duration = " (once; takes about a minute)" if total > PACKAGES_PER_LINE else ""
                _print(f"Installing {packages} of {lock} into {venv}{duration}")
            if is_announced and found % PACKAGES_PER_LINE == 0:
                _print(f"  {found} of {total} found")
        elif line.startswith("Installing collected packages"):
            has_changed = True
            if total > PACKAGES_PER_LINE:
                _print("  all found, unpacking")
    return has_changed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
