"""The parser of command lines: errors suggest the most similar command or option."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

_OPTION = re.compile(r"--[a-z][a-z-]*")
_UNKNOWN_COMMAND = re.compile(r"argument command: invalid choice: '([^']*)' \(choose from (.*)\)")
_INSTALLED = "llm-sse"


def program_name() -> str:
    """Return the command that the user typed."""
    return _INSTALLED if Path(sys.argv[0]).stem == _INSTALLED else "python -m service"


class CommandParser(argparse.ArgumentParser):
    """Exits with 2 and an explanation for arguments that it does not know."""

    def error(self, message: str) -> NoReturn:
        if found := _UNKNOWN_COMMAND.search(message):
            known = re.findall(r"[\w-]+", found[2])
            message = f"there is no command {found[1]}{_suggest(found[1], known)}"
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {message}\n{self.prog} --help explains the arguments.\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Exit because of arguments that do not exist."""
        known = _OPTION.findall(self.format_usage())
        hint = _suggest(unknown[0].partition("=")[0], known)
        self.error(f"there is no argument {unknown[0]}{hint}")


def _suggest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, [*known], n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
