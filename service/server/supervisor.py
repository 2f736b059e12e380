"""Several worker processes on one socket. A crashed one is replaced.

Each is a fresh interpreter that inherits the listening socket, and the read end of a pipe whose
other end is ours: should we die without a word, they see its end of file and drain.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from service.server.process import TOLD_BY
from telemetry.metrics.registry import forget_worker

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0)
_STABLE_S = 30.0  # a worker that lived this long did not die of its start-up
_KILL_AFTER_S = 10.0  # past the drain


class Supervisor:
    """Starts `count` workers, replaces those that die, and passes signals on."""

    def __init__(self, sock: socket.socket, count: int, drain_s: float) -> None:
        self._sock = sock
        self._count = count
        self._drain_s = drain_s
        self._workers: dict[subprocess.Popen[bytes], float] = {}
        self._deaths = 0
        self._told = 0
        self._pipe_read, self._pipe_write = os.pipe()

    def run(self) -> int:
        """Return the exit code once every worker has ended: 0 after a clean drain."""
        for number in TOLD_BY:
            signal.signal(number, self._on_signal)
        with tempfile.TemporaryDirectory(prefix="llm-sse-metrics-") as metrics:
            environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": metrics}
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
            for _ in range(self._count):
                self._start(environment)
            while not self._told:
                time.sleep(_LOOK_EVERY_S)
                self._replace_the_dead(environment)
            return self._end()

    def _start(self, environment: Mapping[str, str]) -> None:
        if self._told:
            return
        fds = (self._sock.fileno(), self._pipe_read)
        # A worker inherits the block and lifts it once it can drain; else a signal that comes
        # while it starts would kill it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, TOLD_BY)
        worker = subprocess.Popen(
            worker_command(*fds), pass_fds=fds, env=environment, cwd=Path.cwd()
        )
        self._workers[worker] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _replace_the_dead(self, environment: Mapping[str, str]) -> None:
        for worker, started in list(self._workers.items()):
            code = worker.poll()
            if code is None or self._told:
                continue
            del self._workers[worker]
            forget_worker(worker.pid)
            lived_s = time.monotonic() - started
            self._deaths = 1 if lived_s > _STABLE_S else self._deaths + 1
            wait_s = _BACKOFF_S[min(self._deaths, len(_BACKOFF_S)) - 1]
            _log.error(
                "worker %d ended with %d; starting another in %g s", worker.pid, code, wait_s
            )
            time.sleep(wait_s)
            self._start(environment)

    def _end(self) -> int:
        deadline = time.monotonic() + self._drain_s + _KILL_AFTER_S
        while any(worker.poll() is None for worker in self._workers):
            if time.monotonic() > deadline:
                for worker in self._workers:
                    worker.kill()
            time.sleep(0.05)
        return max((abs(worker.returncode) for worker in self._workers), default=0)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._told += 1
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)


def worker_command(sock_fd: int, parent_fd: int) -> Sequence[str]:
    """Return the command line of a worker."""
    return [sys.executable, "-m", "service", "worker", str(sock_fd), str(parent_fd)]
