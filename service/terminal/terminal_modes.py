"""The modes of the terminal while something is drawn on it.

The keys that a user types must not appear among the panels, and the modes must be restored however
the command ends: a shell with a hidden cursor, or without an echo, looks broken.
"""

from __future__ import annotations

import os
import sys
import termios
from contextlib import suppress
from typing import Any

_SHOW_CURSOR = b"\x1b[?25h"
_LEAVE_SCREEN = b"\x1b[?1049l"


class TerminalModes:
    """The modes of the terminal of the standard input and output."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._undo = b""

    def hide_keys(self, *, uses_screen: bool = False) -> None:
        """Stop the echo of keys until `restore`; `uses_screen`: on the alternate screen."""
        self._undo = _SHOW_CURSOR + (_LEAVE_SCREEN if uses_screen else b"")
        with suppress(termios.error, OSError, ValueError):
            modes = termios.tcgetattr(sys.stdin)
            if _is_foreground():
                self._before = modes.copy()
                modes[3] &= ~termios.ECHO
                termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)

    def restore(self) -> None:
        """Restore the echo."""
        self._undo = b""
        before, self._before = self._before, None
        with suppress(termios.error, OSError, ValueError):
            if before is not None and _is_foreground():
                termios.tcsetattr(sys.stdin, termios.TCSANOW, before)

    def restore_now(self) -> None:
        """Restore the echo, the cursor and the screen of a drawing that was not ended."""
        undo = self._undo
        self.restore()
        with suppress(OSError, ValueError):
            os.write(sys.stdout.fileno(), undo)


def _is_foreground() -> bool:
    """Return whether this process may change the modes: one in the background would be stopped."""
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


MODES = TerminalModes()
"""Those of this process, which has one terminal."""
