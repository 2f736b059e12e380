"""The text of a question: arguments, files and the standard input."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from service.terminal.feed import AskFailed

_NOTICE_S = 2.0


def compose_question(words: Sequence[str], files: Sequence[Path], *, reads_stdin: bool) -> str:
    """Return the question, followed by the standard input and the files; "" if there is none.

    Raises AskFailed for a file that is not readable text.
    """
    parts = [" ".join(words)]
    if reads_stdin:
        parts.append(_read_stdin())
    parts += [f"{_name(path)}:\n\n{_read_file(path)}" for path in files]
    return "\n\n".join(filter(None, (part.strip("\r\n") for part in parts))).strip()


def has_piped_input() -> bool:
    """Return whether the standard input is a file or a pipe, not a terminal or nothing."""
    if sys.stdin is None or sys.stdin.closed:
        return False
    mode = os.fstat(sys.stdin.fileno()).st_mode
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _read_stdin() -> str:
    notice = threading.Timer(
        _NOTICE_S,
        lambda: print_notice("Reading the standard input to its end (--no-stdin ignores it)."),
    )
    notice.daemon = True
    notice.start()
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise AskFailed(f"The standard input is no UTF-8 text: {error}", is_usage=True) from None
    finally:
        notice.cancel()


def is_utf8(text: str) -> bool:
    """Return whether an argument or a typed line was UTF-8."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def print_notice(text: str) -> None:
    """Write a line to the standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _name(path: Path) -> str:
    return os.fsencode(path.name).decode(errors="replace")


def _read_file(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise AskFailed(f"{path} is no UTF-8 text: {error}", is_usage=True) from None
    except OSError as error:
        raise AskFailed(f"{path} cannot be read: {error.strerror}", is_usage=True) from None
