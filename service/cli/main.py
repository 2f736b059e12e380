"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from service.cli.streams import prepare_streams

_CLIENT_COMMANDS = ("ask", "top")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; each error of the user is one line on stderr.

    The imports of the service take seconds, and a client of a running service needs none of them.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] and arguments[0] in _CLIENT_COMMANDS:
        prepare_streams()
        try:
            from service.cli.client.command import run_client

            return run_client(arguments)
        except KeyboardInterrupt:  # while modules are imported
            return 130
    from service.cli.commands import run_command

    return run_command(arguments)


def run() -> None:
    """Run the installed command `llm-sse`."""
    sys.exit(main())
