"""The signals that end a command: all of them stop the run as Ctrl-C does."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


def install_signals() -> None:
    """Let SIGTERM and SIGHUP interrupt the main thread, unless they are ignored as by nohup."""
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def exit_code() -> int:
    """Return the exit code of an interrupted command, as in shells: 128 and the signal."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def was_terminated() -> bool:
    """Return whether one of these signals came, and not just Ctrl-C."""
    return bool(_received)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt
