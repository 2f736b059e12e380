"""An event loop in a thread, beside the main thread that waits for the user.

A chat waits most of the time for a line of input; meanwhile a service in this process has to
renew its lease. Ctrl-C interrupts the main thread alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn, Self, TypeVar

from service.terminal.signals import exit_code
from service.terminal.terminal_modes import MODES

Result = TypeVar("Result")


class BackgroundLoop:
    """Runs coroutines for the main thread, within its `with` block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event loop")

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the loop, after its last tasks."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(
        self, work: Coroutine[Any, Any, Result], interrupt: Callable[[], None] | None = None
    ) -> Result:
        """Return the result of a coroutine.

        On Ctrl-C `interrupt` is called in the loop, and the coroutine is to end soon; without it,
        and for the second Ctrl-C, the process ends with 130.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            if interrupt is None:
                _end_now()
            self._loop.call_soon_threadsafe(interrupt)
        try:
            return future.result()
        except KeyboardInterrupt:
            _end_now()


def _end_now() -> NoReturn:
    """End the process without waiting for its threads, one of which may write to a full pipe."""
    MODES.restore_now()
    with suppress(OSError):
        sys.stderr.write("\n")
        sys.stderr.flush()
    os._exit(exit_code())
