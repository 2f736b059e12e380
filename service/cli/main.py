"""The command line."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from service.cli.streams import prepare_streams

_CLIENT_COMMANDS = ("ask", "top")
_COMMANDS = "service.cli.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; each error of the user is one line on stderr.

    A client of a running service needs none of the service's imports, which take most of a second.
    """
    # Source: https://docs.python.org/3/reference/import.html#the-module-cache
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # httpx's own command, 40 ms
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] and arguments[0] in _CLIENT_COMMANDS:
        prepare_streams()
        try:
            from service.cli.client.command import run_client

            return run_client(arguments)
        except KeyboardInterrupt:  # while modules are imported
            return 130
    return _import_commands()(arguments)


def _import_commands() -> Callable[[Sequence[str]], int]:
    if _COMMANDS not in sys.modules:
        # Imported objects are permanent: to search them for garbage took a fifth of the start.
        gc.disable()
        import_module(_COMMANDS)
        gc.freeze()
        gc.enable()
    from service.cli.commands import run_command

    return run_command


def run() -> None:
    """Run the installed command `llm-sse`."""
    sys.exit(main())
