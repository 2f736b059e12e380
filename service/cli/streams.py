"""The standard streams, as a shell may have left them."""

from __future__ import annotations

import io
import os
import sys


def prepare_streams() -> None:
    """Replace streams that are closed, and let none fail because of its encoding.

    Without a stream Python has None in its place, and the next file that is opened gets its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(_open_nowhere(number), "r" if number == 0 else "w"))
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _open_nowhere(number: int) -> int:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    return number
