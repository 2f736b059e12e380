"""Installation of the third-party model servers that `make test-real` tests against.

Usage: python -m tools.real_servers install | path

They have many requirements of their own, so they are installed apart from the project: from locks
in tests/real, into the user's cache folder, once for each version of the locks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools import install

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "real"
LOCK = FOLDER / "requirements.lock"
NODE_FILES = (FOLDER / "node" / "package.json", FOLDER / "node" / "package-lock.json")


def get_folder() -> Path:
    """Return the cache folder of this Python and these locks; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(sys.version.encode())
    for file in (LOCK, *NODE_FILES):
        digest.update(file.read_bytes())
    return Path(base) / "llm-sse-service" / "real" / digest.hexdigest()[:16]


def get_venv() -> Path:
    """Return the virtual environment of the servers from PyPI."""
    return get_folder() / "venv"


def get_node_modules() -> Path:
    """Return the folder of the servers from npm."""
    return get_folder() / "node_modules"


def find_npm() -> str | None:
    """Return npm: the one beside this Python, else the one on the path."""
    beside = Path(sys.executable).with_name("npm")
    return str(beside) if beside.exists() else shutil.which("npm")


def main(command: str) -> int:
    """Install the servers, or print their folder; return the exit status."""
    if command == "path":
        print(get_folder())
        return 0
    if command != "install":
        print(__doc__, file=sys.stderr)
        return 2
    failed = [
        name for name, status in (("PyPI", install_venv()), ("npm", _install_npm())) if status
    ]
    if failed:
        print(f"Not installed, servers from {' and '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def install_venv() -> int:
    """Install the servers from PyPI where they are not installed; return the exit status."""
    os.chdir(ROOT)  # the lock of pip is named relative to it
    stamp = get_folder() / ".venv-installed"
    if stamp.exists():
        return 0
    status = install.main(get_venv(), LOCK.relative_to(ROOT))
    if not status:
        stamp.touch()
    return status


def _install_npm() -> int:
    folder, npm = get_folder(), find_npm()
    stamp = folder / ".npm-installed"
    if stamp.exists():
        return 0
    if npm is None:
        print("npm is needed for the servers from npm.", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    for file in NODE_FILES:
        shutil.copy(file, folder)
    status = subprocess.run([npm, "ci", "--ignore-scripts", "--silent"], cwd=folder).returncode
    if not status:
        stamp.touch()
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or [""]))
