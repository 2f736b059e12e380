"""Ctrl-C and SIGTERM during an evaluation: the first stops it cleanly, the second ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service.evaluation.running.halt import Halt

_NOTICE = "Stopping after the answers in progress; a second Ctrl-C cancels them."


class Interrupts:
    """The signals that the process received. The third one ends it without any clean-up."""

    def __init__(self, halt: Halt, task: asyncio.Task[object]) -> None:
        self._halt = halt
        self._task = task
        self._count = 0

    def receive(self, number: signal.Signals) -> None:
        """Stop the evaluation, or cancel the open runs, or end the process."""
        self._count += 1
        if self._count == 1:
            self._halt.stop("interrupted", f"Received {number.name}.")
            print(_NOTICE, file=sys.stderr, flush=True)
        elif self._count == 2:
            self._task.cancel()
        else:
            os._exit(128 + number)


@contextmanager
def stopping(halt: Halt) -> Iterator[None]:
    """Stop `halt` by the signals that the process receives during the block."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  (called in a coroutine)
    interrupts = Interrupts(halt, task)
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, interrupts.receive, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
