"""Start, supervision and stop of the stack's programs, which never outlive this process.

Raises StackError with the end of a program's log when the program does not start.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.observe.addresses import Addresses
from tools.observe.programs import Command, Plan, inherit_environment

START_TIMEOUT_S = 60.0  # Jaeger takes 1-2 s, on a busy machine much longer
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1
_LAST_LINES = 15
_PR_SET_PDEATHSIG = 1


class StackError(Exception):
    """A program did not start, or all of them ended; the message contains the reason."""


@dataclass(frozen=True)
class RunningProgram:
    """One running program, with its output in `log`."""

    command: Command
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        return self.command.name

    def describe_end(self) -> str:
        """Return the exit code or signal of the program and the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        tail = "\n".join(f"  {line}" for line in lines)
        code = self.popen.returncode
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{self.name} ended with {cause}. The end of {self.log}:\n{tail}"

    def require_alive(self) -> None:
        """Raise StackError when the program has ended."""
        if self.popen.poll() is not None:
            raise StackError(self.describe_end())

    def is_healthy(self) -> bool:
        return _answers_200(self.command.health)

    def stop(self) -> None:
        """Terminate the program, and kill it if it does not end in time."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_TIMEOUT_S)
        self.popen.kill()
        self.popen.wait()


@dataclass(frozen=True)
class Stack:
    """The running programs and their addresses."""

    plan: Plan
    programs: tuple[RunningProgram, ...]

    @property
    def addresses(self) -> Addresses:
        return self.plan.addresses

    def find(self, name: str) -> RunningProgram:
        return next(program for program in self.programs if program.name == name)

    def watch(self, report: Callable[[str], None]) -> None:
        """Wait for an interrupt; report each program that ends, and let the others continue.

        Raises StackError when all of them have ended.
        """
        remaining = list(self.programs)
        while remaining:
            for program in [each for each in remaining if each.popen.poll() is not None]:
                remaining.remove(program)
                report(program.describe_end())
            time.sleep(_POLL_S)
        raise StackError("All of them have ended.")


@contextmanager
def run_stack(plan: Plan) -> Iterator[Stack]:
    """Run the stack during the block; all programs are healthy when the block starts.

    Raises AddressError for a port in use, and StackError.
    """
    plan.addresses.require_free()
    programs: list[RunningProgram] = []
    try:
        programs.extend(_start(command, plan.folder) for command in plan.build_commands())
        for program in programs:
            _wait_healthy(program)
        yield Stack(plan, tuple(programs))
    finally:
        # In reverse order, so that the collector can still export its queue.
        try:
            for program in reversed(programs):
                program.stop()
        finally:
            for program in programs:
                program.popen.kill()  # after a second Ctrl-C, which interrupts the stop


def _start(command: Command, folder: Path) -> RunningProgram:
    log = folder / f"{command.name}.log"
    with log.open("wb") as out:
        popen = subprocess.Popen(
            command.arguments,
            cwd=folder,
            env={**inherit_environment(), **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C reaches only this process, which stops them in order.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    return RunningProgram(command, popen, log)


_libc = ctypes.CDLL(None)  # loaded here: no import is safe after a fork


def _die_with_parent() -> None:
    # Linux only: the kernel kills the program when this process dies, even by SIGKILL.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_healthy(program: RunningProgram) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not program.is_healthy():
        program.require_alive()
        if time.monotonic() > deadline:
            raise StackError(
                f"{program.name} runs but is not healthy after {START_TIMEOUT_S:.0f} s;"
                f" see {program.log}."
            )
        time.sleep(_POLL_S)


def _answers_200(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=2)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
