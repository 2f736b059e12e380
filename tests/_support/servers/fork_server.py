"""A fork server: starts service processes without a new interpreter for each.

To import the service takes more than a second of CPU time, and the tests start it hundreds of
times. The fork server imports it once; each process that it starts is a fork with the arguments,
environment, folder and output files of its own. A test of the start itself uses a fresh
interpreter (`processes.run`).
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests._support.garbage import install_report

_ROOT = Path(__file__).parents[3]
_OUTPUT = ("out", "err")  # the files of its standard output and error


class ForkedProcess:
    """A process that the fork server started; as much of `subprocess.Popen` as tests use."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.poll(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raise subprocess.TimeoutExpired when it still runs after `timeout` seconds."""
        if self.poll() is None:
            select.select([self._pidfd], [], [], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("forked service", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        # It stays a zombie until `poll` has seen its end, so the pid is not another's.
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._pidfd)


class ForkServer:
    """The client's side: starts processes and asks for their exit codes, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=_ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._answers = self._socket.makefile("r")

    def start(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> ForkedProcess:
        """Start `python -m service` in `folder`, with its output in the files `out` and `err`."""
        for name in _OUTPUT:
            (folder / name).write_bytes(b"")
        order = {"folder": str(folder), "arguments": arguments, "environment": environment}
        return ForkedProcess(self, self._ask(order))

    def poll(self, pid: int) -> int | None:
        """Return the exit code in Popen's format, or None while it runs; reap an ended process."""
        code: int | None = self._ask({"poll": pid})
        return code

    def close(self) -> None:
        """End the server, and kill what it has started."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._popen.wait()
        self._answers.close()
        self._socket.close()

    def _ask(self, request: Mapping[str, Any]) -> Any:
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(self._answers.readline())


@functools.cache
def fork_server() -> ForkServer:
    """Return the fork server of this process, started when it is first needed."""
    return ForkServer()


def end_fork_server() -> None:
    """End the fork server, where one was started."""
    if fork_server.cache_info().currsize:
        fork_server().close()
        fork_server.cache_clear()


# --- in the fork server's process ---


def _serve_until_forked(connection: socket.socket) -> Mapping[str, Any] | None:
    """Answer requests; return the order in a fork, None in the server once its client is gone."""
    running: set[int] = set()
    with connection, connection.makefile("r") as requests:
        for line in requests:
            request = json.loads(line)
            if "poll" in request:
                answer = _reap(request["poll"], running)
            else:
                answer = os.fork()
                if not answer:
                    return dict(request)
                running.add(answer)
            connection.sendall(json.dumps(answer).encode() + b"\n")
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def _reap(pid: int, running: set[int]) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    running.discard(pid)
    return os.waitstatus_to_exitcode(status)


def _become(order: Mapping[str, Any]) -> None:
    """Give this fork the folder, environment and files that an interpreter would start with."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["folder"])
    for number, name in enumerate(_OUTPUT, start=1):
        file = os.open(name, os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    install_report(order["environment"])


def _main() -> int:
    importlib.import_module("service.cli.commands")  # once, before the forks
    from service.cli.main import main

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the tests
    gc.collect()
    gc.freeze()
    order = _serve_until_forked(socket.socket(fileno=int(sys.argv[1])))
    if order is None:
        return 0
    _become(order)
    return main(order["arguments"])


if __name__ == "__main__":
    sys.exit(_main())
