"""The terminal client as a process: on a pseudo-terminal, or with pipes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import command, environment

_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])")


def run_piped(
    folder: Path, *arguments: str, text: str | None = None, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a client command with pipes; `text` is its input, without one there is none."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(settings),
        input=text.encode() if text is not None else None,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


class OnTerminal:
    """A client command on a pseudo-terminal; `output` is everything that it has written."""

    def __init__(self, popen: subprocess.Popen[bytes], fd: int) -> None:
        self.output = b""
        self._popen = popen
        self._fd = fd

    @property
    def text(self) -> str:
        """The output without escape sequences."""
        return _ESCAPES.sub(b"", self.output).decode(errors="replace").replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        """Type on the keyboard; `\\x03` is Ctrl-C."""
        os.write(self._fd, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def has_echo(self) -> bool:
        """Return whether the terminal shows the keys that are typed."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)

    def send_signal(self, number: int) -> None:
        """Send a signal to the command, not to the `setsid` that started it."""
        os.kill(os.tcgetpgrp(self._fd), number)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Read until the output contains `text` that many times."""
        deadline = time.monotonic() + PATIENCE_S
        while self.text.count(text) < times:
            assert time.monotonic() < deadline, self.text[-2_000:]
            assert self._read(), self.text[-2_000:]

    def wait(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read():
            pass
        return self._popen.wait(PATIENCE_S)

    def _read(self) -> bool:
        """Read what is there, and return whether more may follow."""
        if not select.select([self._fd], [], [], 1.0)[0]:
            return True
        try:
            block = os.read(self._fd, 65_536)
        except OSError:  # Linux's end of file of a terminal
            return False
        self.output += block
        return bool(block)


@contextmanager
def on_terminal(
    folder: Path, *arguments: str, term: str = "xterm-256color", **settings: str
) -> Iterator[OnTerminal]:
    """Start a client command on a pseudo-terminal, and end it with the block."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    variables: Mapping[str, str] = {**settings, "TERM": term}
    popen = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command(*arguments)],
        cwd=folder,
        env=environment(variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield OnTerminal(popen, ours)
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait()
        os.close(ours)
