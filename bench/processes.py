"""The processes under load: started, measured through /proc, and ended by their own pid."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_URL = re.compile(r"http://(127\.0\.0\.1):(\d+)[/\s]")
_START_S = 30.0
_STOP_S = 12.0
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement could not be made; the message says why."""


class Process:
    """One Python process whose output goes to a log file in `folder`.

    It gets `variables` and nothing else of this process's environment, and `folder` as its working
    directory, so that no `.env` of a developer changes what is measured.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        inherited = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env={**inherited, "PYTHONPATH": str(ROOT), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    async def address(self) -> tuple[str, int]:
        """Return host and port once the process has said where it listens."""
        for _ in range(int(_START_S / 0.05)):
            said = _URL.search(self._log.read_text(errors="replace"))
            if said:
                return said[1], int(said[2])
            if self._popen.poll() is not None:
                code = self._popen.returncode
                raise BenchError(f"The {self.name} ended at once, with {code}.\n{self.log_tail()}")
            await asyncio.sleep(0.05)
        raise BenchError(f"The {self.name} did not start within {_START_S:g} s.")

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far, children included."""
        return cpu_s(self.pid)

    def rss_bytes(self) -> int:
        """Return the resident memory of the process itself."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def stop(self) -> None:
        """End the process: SIGTERM, a while, SIGKILL."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        for _ in range(int(_STOP_S / 0.02)):
            if self._popen.poll() is not None:
                return
            await asyncio.sleep(0.02)
        self._popen.kill()
        self._popen.wait()

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of what the process wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def machine_cpu_s() -> float:
    """Return the CPU seconds that all of the machine has used since it started."""
    total = Path("/proc/stat").read_text().partition("\n")[0].split()
    # user, nice, system, idle, iowait, irq, softirq, steal; the guests' are among the users'.
    return sum(int(total[place]) for place in (1, 2, 3, 6, 7, 8)) / _TICKS


def cpu_s(pid: int) -> float:
    """Return the user and system seconds of `pid`, of its ended and of its living children.

    Raises BenchError when there is no such process any more.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError as error:
        raise BenchError(f"Process {pid} is gone.") from error
    # The fields behind the command's name, which may hold anything: utime, stime, cutime, cstime.
    fields = stat.rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / _TICKS
    children = 0.0
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError, BenchError):  # it may end meanwhile
            children += sum(cpu_s(int(child)) for child in listed.read_text().split())
    return own + children
