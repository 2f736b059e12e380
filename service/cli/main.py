"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; each error of the user is one line on stderr."""
    from service.cli.commands import run_command

    return run_command(sys.argv[1:] if arguments is None else arguments)
