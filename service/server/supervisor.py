"""Runs several worker processes on one socket, and replaces crashed ones.

A worker is a fork of this process, which has imported the service and has neither an event loop
nor a thread: it starts within milliseconds, and shares the pages of the imports. It inherits the
read end of a pipe whose write end only the supervisor holds: when the supervisor dies, the workers
read end of file and drain.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from types import FrameType

from service.server.process import RELOAD_SIGNAL, STOP_SIGNALS
from telemetry.metrics.registry import forget_worker, share_metrics

_log = logging.getLogger(__name__)

_POLL_INTERVAL_S = 0.2
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0)
_STABLE_S = 30.0  # a worker that ran for this long did not fail at start-up
_KILL_AFTER_S = 10.0  # after DRAIN_S
_SIGNALS = (*STOP_SIGNALS, RELOAD_SIGNAL)


class Supervisor:
    """Starts `count` workers, replaces those that exit, and forwards signals.

    `work` serves in a worker until it ends; its argument is the read end of the pipe.
    """

    def __init__(self, work: Callable[[int], None], count: int, drain_s: float) -> None:
        self._work = work
        self._count = count
        self._drain_s = drain_s
        self._workers: dict[ForkProcess, float] = {}
        self._failures = 0
        self._stop_count = 0
        self._pipe_read, self._pipe_write = os.pipe()

    def run(self) -> int:
        """Supervise until a stop signal; return the exit code: 0 when every worker drained."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(RELOAD_SIGNAL, self._on_reload)
        with tempfile.TemporaryDirectory(prefix="llm-sse-metrics-") as metrics:
            share_metrics(metrics)
            # A collection writes to the objects that it looks at, and to write to a page copies it.
            gc.collect()
            gc.freeze()
            for _ in range(self._count):
                self._start()
            while not self._stop_count:
                time.sleep(_POLL_INTERVAL_S)
                self._replace_exited()
            return self._end()

    def _start(self) -> None:
        if self._stop_count:
            return
        worker = multiprocessing.get_context("fork").Process(target=self._run_worker)
        # A worker inherits the blocked signals and unblocks them when it can drain; otherwise a
        # signal during its start-up would kill it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        worker.start()
        self._workers[worker] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _run_worker(self) -> None:
        os.close(self._pipe_write)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._work(self._pipe_read)

    def _replace_exited(self) -> None:
        for worker, started in list(self._workers.items()):
            code = worker.exitcode
            if code is None or self._stop_count:
                continue
            del self._workers[worker]
            forget_worker(worker.pid or 0)
            lived_s = time.monotonic() - started
            self._failures = 1 if lived_s > _STABLE_S else self._failures + 1
            wait_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S)) - 1]
            _log.error(
                "worker %d exited with %d; starting another in %g s", worker.pid, code, wait_s
            )
            time.sleep(wait_s)
            self._start()

    def _end(self) -> int:
        deadline = time.monotonic() + self._drain_s + _KILL_AFTER_S
        while any(worker.exitcode is None for worker in self._workers):
            if time.monotonic() > deadline:
                for worker in self._workers:
                    worker.kill()
            time.sleep(0.05)
        return max((abs(worker.exitcode or 0) for worker in self._workers), default=0)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_count += 1
        self._forward(signal.SIGTERM)

    def _on_reload(self, number: int, _frame: FrameType | None) -> None:
        self._forward(number)

    def _forward(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid is not None and worker.exitcode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)
