"""Start, measurement through /proc, and stop of the processes of a benchmark."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests._support.servers.fork_server import ForkedProcess, fork_server
from tests._support.servers.processes import children

ROOT = Path(__file__).resolve().parents[1]

_URL = re.compile(r"http://(127\.0\.0\.1):(\d+)[/\s]")
_SIZE = re.compile(r"^(Rss|Pss): +(\d+) kB$", re.MULTILINE)
_START_S = 30.0
_STOP_S = 12.0
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement failed; the message states the reason."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of some processes: resident, and proportional (a page divided by its processes)."""

    rss: int
    pss: int


class Measured:
    """A running process, measured through /proc."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def read_cpu_s(self) -> float:
        """Return the CPU seconds used until now, including children."""
        return read_cpu_s(self.pid)

    def read_rss_bytes(self) -> int:
        """Return the resident memory of the process itself."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def read_memory(self) -> Memory:
        """Return the memory of the process and its children together."""
        pids = [self.pid, *children(self.pid)]
        sizes = [_SIZE.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids]
        rss, pss = (sum(int(dict(each)[name]) for each in sizes) for name in ("Rss", "Pss"))
        return Memory(rss * 1024, pss * 1024)


class Process(Measured):
    """One process that writes its output to log files.

    Its environment contains only PATH, LANG and given variables, and its working directory is a
    given folder, so that a developer's `.env` does not affect the measurement.
    """

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes] | ForkedProcess, logs: Sequence[Path]
    ) -> None:
        super().__init__(popen.pid)
        self.name = name
        self._popen = popen
        self._logs = logs

    @classmethod
    def start(
        cls,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        variables: Mapping[str, str],
        program: Sequence[str] = (sys.executable, "-m"),
    ) -> Self:
        """Start `python -m` with `arguments`, or another `program`, in `folder`."""
        log_path = folder / f"{name}.log"
        with log_path.open("wb") as log:
            popen = subprocess.Popen(
                [*program, *arguments],
                cwd=folder,
                env={**_inherit(), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return cls(name, popen, [log_path])

    @classmethod
    def fork_service(
        cls, name: str, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]
    ) -> Self:
        """Start `python -m service` with `arguments` as a fork, in a new folder in `folder`.

        It costs a tenth of a new interpreter, but shares memory with the fork server.
        """
        own = folder / name
        own.mkdir()
        popen = fork_server().start(own, arguments, {**_inherit(), **variables})
        return cls(name, popen, [own / "out", own / "err"])

    async def wait_for_address(self) -> tuple[str, int]:
        """Wait until the process prints its address; return host and port. Raises BenchError."""
        for _ in range(int(_START_S / 0.05)):
            found = _URL.search(self._read_log())
            if found:
                return found[1], int(found[2])
            if self._popen.poll() is not None:
                code = self._popen.returncode
                raise BenchError(
                    f"The {self.name} ended at once, with {code}.\n{self.read_log_tail()}"
                )
            await asyncio.sleep(0.05)
        raise BenchError(f"The {self.name} did not start within {_START_S:g} s.")

    async def stop(self) -> None:
        """Stop the process with SIGTERM, after a timeout with SIGKILL."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        for _ in range(int(_STOP_S / 0.02)):
            if self._popen.poll() is not None:
                return
            await asyncio.sleep(0.02)
        self._popen.kill()
        self._popen.wait()

    def read_log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        return "\n".join(self._read_log().splitlines()[-lines:])

    def _read_log(self) -> str:
        return "".join(log.read_text(errors="replace") for log in self._logs)


def _inherit() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT)}


def read_machine_cpu_s() -> float:
    """Return the CPU seconds that the whole machine has used since its boot."""
    total = Path("/proc/stat").read_text().partition("\n")[0].split()
    # user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user time.
    return sum(int(total[index]) for index in (1, 2, 3, 6, 7, 8)) / _TICKS


def read_cpu_s(pid: int) -> float:
    """Return the user and system CPU seconds of `pid` and of its ended and running children.

    Its own are exact; /proc has hundredths of a second. Raises BenchError when it has ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The clock of another process's CPU time. Source: clock_getcpuclockid(3), in glibc.
        own = time.clock_gettime((~pid << 3) | 2)
    except OSError as error:
        raise BenchError(f"Process {pid} has ended.") from error
    # After the command name, which may contain any character: cutime, cstime of ended children.
    children = sum(map(int, stat.rpartition(")")[2].split()[13:15])) / _TICKS
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError, BenchError):  # the child may have ended
            children += sum(read_cpu_s(int(child)) for child in listed.read_text().split())
    return own + children
