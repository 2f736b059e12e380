"""Runs several worker processes on one socket, and replaces crashed ones.

Each worker is a new interpreter that inherits the listening socket and the read end of a pipe
whose write end the supervisor holds: when the supervisor dies, they read end of file and drain.
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

from service.server.process import RELOAD_SIGNAL, STOP_SIGNALS
from telemetry.metrics.registry import forget_worker

_log = logging.getLogger(__name__)

_POLL_INTERVAL_S = 0.2
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0)
_STABLE_S = 30.0  # a worker that ran for this long did not fail at start-up
_KILL_AFTER_S = 10.0  # after DRAIN_S


class Supervisor:
    """Starts `count` workers, replaces those that exit, and forwards signals."""

    def __init__(self, sock: socket.socket, count: int, drain_s: float) -> None:
        self._sock = sock
        self._count = count
        self._drain_s = drain_s
        self._workers: dict[subprocess.Popen[bytes], float] = {}
        self._failures = 0
        self._stop_count = 0
        self._pipe_read, self._pipe_write = os.pipe()

    def run(self) -> int:
        """Supervise until a stop signal; return the exit code: 0 when every worker drained."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(RELOAD_SIGNAL, self._on_reload)
        with tempfile.TemporaryDirectory(prefix="llm-sse-metrics-") as metrics:
            environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": metrics}
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
            for _ in range(self._count):
                self._start(environment)
            while not self._stop_count:
                time.sleep(_POLL_INTERVAL_S)
                self._replace_exited(environment)
            return self._end()

    def _start(self, environment: Mapping[str, str]) -> None:
        if self._stop_count:
            return
        fds = (self._sock.fileno(), self._pipe_read)
        # A worker inherits the blocked signals and unblocks them when it can drain; otherwise a
        # signal during its start-up would kill it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, RELOAD_SIGNAL))
        worker = subprocess.Popen(
            worker_command(*fds), pass_fds=fds, env=environment, cwd=Path.cwd()
        )
        self._workers[worker] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _replace_exited(self, environment: Mapping[str, str]) -> None:
        for worker, started in list(self._workers.items()):
            code = worker.poll()
            if code is None or self._stop_count:
                continue
            del self._workers[worker]
            forget_worker(worker.pid)
            lived_s = time.monotonic() - started
            self._failures = 1 if lived_s > _STABLE_S else self._failures + 1
            wait_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S)) - 1]
            _log.error(
                "worker %d exited with %d; starting another in %g s", worker.pid, code, wait_s
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
        self._stop_count += 1
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)

    def _on_reload(self, number: int, _frame: FrameType | None) -> None:
        for worker in self._workers:
            worker.send_signal(number)


def worker_command(sock_fd: int, parent_fd: int) -> Sequence[str]:
    """Return the command line of a worker."""
    return [sys.executable, "-m", "service", "worker", str(sock_fd), str(parent_fd)]
