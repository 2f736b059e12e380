"""Runs the three programs until it is told to stop; none outlives this process.

Raises Broken, with the end of that program's log, when one does not start, or when none is left.
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

from tools.observe.places import Places
from tools.observe.programs import Command, Plan, inherited

START_S = 60.0  # Jaeger takes 1-2 s; this is for machines that are busy with something else
END_S = 10.0
_POLL_S = 0.1
_LAST_LINES = 15
_PR_SET_PDEATHSIG = 1


class Broken(Exception):
    """A program that did not come up, or ended by itself."""


@dataclass(frozen=True)
class Member:
    """One running program; what it prints is in `log`."""

    command: Command
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        return self.command.name

    def why(self) -> str:
        """Return how it ended and the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        said = "\n".join(f"  {line}" for line in lines)
        code = self.popen.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{self.name} ended with {how}. The end of {self.log}:\n{said}"

    def require_alive(self) -> None:
        """Raise Broken when it has ended."""
        if self.popen.poll() is not None:
            raise Broken(self.why())

    def is_healthy(self) -> bool:
        return _answers_200(self.command.health)

    def end(self) -> None:
        """End it: politely, then for certain."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(END_S)
        self.popen.kill()
        self.popen.wait()


@dataclass(frozen=True)
class Stack:
    """The programs that run, and where."""

    plan: Plan
    members: tuple[Member, ...]

    @property
    def at(self) -> Places:
        return self.plan.places

    def member(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)

    def watch(self, tell: Callable[[str], None]) -> None:
        """Wait until interrupted. The others go on when a program ends by itself, which is told.

        Raises Broken when it was the last.
        """
        left = list(self.members)
        while left:
            for member in [each for each in left if each.popen.poll() is not None]:
                left.remove(member)
                tell(member.why())
            time.sleep(_POLL_S)
        raise Broken("All of them have ended.")


@contextmanager
def running(plan: Plan) -> Iterator[Stack]:
    """Run the stack, healthy from the start of the block, until its end.

    Raises BadPlace for a port that is taken, and Broken.
    """
    plan.places.require_free()
    members: list[Member] = []
    try:
        members.extend(_start(command, plan.folder) for command in plan.commands())
        for member in members:
            _wait_healthy(member)
        yield Stack(plan, tuple(members))
    finally:
        # In the reverse order, so that the collector can still deliver what it holds.
        try:
            for member in reversed(members):
                member.end()
        finally:
            for member in members:
                member.popen.kill()  # for a second Ctrl-C, which cuts the above short


def _start(command: Command, folder: Path) -> Member:
    log = folder / f"{command.name}.log"
    with log.open("wb") as out:
        popen = subprocess.Popen(
            command.arguments,
            cwd=folder,
            env={**inherited(), **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches only us, and we end them in order.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    return Member(command, popen, log)


_libc = ctypes.CDLL(None)  # loaded here: after a fork nothing may be imported


def _die_with_parent() -> None:
    # Even a parent that is killed takes them along; only Linux offers this.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_healthy(member: Member) -> None:
    deadline = time.monotonic() + START_S
    while not member.is_healthy():
        member.require_alive()
        if time.monotonic() > deadline:
            raise Broken(
                f"{member.name} runs but is not healthy after {START_S:.0f} s; see {member.log}."
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
