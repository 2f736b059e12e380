"""The service and the mock LLM as processes, each ended by its pid."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.settings import KNOWN
from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S
from tests._support.servers.fork_server import ForkedProcess, fork_server

_URL = re.compile(r"(?:on|answers at) (http://\S+)")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without any setting of the service but `settings`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in KNOWN and not name.startswith(("OTEL_", "PROMETHEUS_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service", *arguments]


@dataclass
class Process:
    """A running `python -m service …`; what it prints goes to files in `folder`."""

    popen: subprocess.Popen[bytes] | ForkedProcess
    folder: Path
    url: str = ""

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def port(self) -> int:
        port = httpx.URL(self.url).port
        assert port is not None
        return port

    @property
    def workers(self) -> list[int]:
        """The pids of its children."""
        return children(self.pid)

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Return its exit code."""
        return self.popen.wait(PATIENCE_S)

    def crash(self) -> None:
        """Kill it and its workers without a word, as a power cut or the kernel would."""
        everyone = [self.pid, *self.workers]
        for pid in everyone:
            kill(pid)
        self.popen.wait()
        deadline = time.monotonic() + PATIENCE_S
        while any(map(is_alive, everyone)):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> None:
        """End it for certain, politely first so that its coverage is written."""
        orphans = self.workers
        if self.popen.poll() is None:
            self.signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(8)
        if self.popen.poll() is None:
            self.signal(signal.SIGINT)  # a second one ends a drain
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(5)
        self.popen.kill()
        self.popen.wait()
        for pid in orphans:
            kill(pid)


def fork(folder: Path, *arguments: str, **settings: str) -> Process:
    """Start the same process as `run` does, quicker: a fork of one that has imported the service.

    On a system without `pidfd_open` (macOS) or with a library to preload it is a new interpreter.
    """
    if not hasattr(os, "pidfd_open") or "LD_PRELOAD" in settings:
        return run(folder, *arguments, **settings)
    popen = fork_server().start(folder, arguments, environment(settings))
    return Process(popen, folder)


def run(folder: Path, *arguments: str, **settings: str) -> Process:
    """Start `python -m service` with `arguments` in `folder`, in which it finds its `.env`."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        popen = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    return Process(popen, folder)


@contextlib.contextmanager
def serving(process: Process) -> Iterator[Process]:
    """Wait until a server has printed its address, and end it with the block; sets its `url`."""
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := _URL.search(process.out)) or not process.out.endswith("\n"):
            assert process.popen.poll() is None, process.err
            assert time.monotonic() < deadline, process.err
            time.sleep(0.02)
        process.url = found[1]
        yield process
    finally:
        process.end()


@contextlib.contextmanager
def run_server(folder: Path, *arguments: str, **settings: str) -> Iterator[Process]:
    """Run a server until the block ends; `url` is the address it printed."""
    with serving(fork(folder, *arguments, **settings)) as process:
        yield process


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def kill(pid: int) -> None:
    """Kill a process of ours that may have ended already."""
    if is_alive(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def wait_for_exit(process: Process) -> int:
    return await asyncio.to_thread(process.wait)
