"""The arguments of the command line: commands, their options and their help texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from service.cli.administration.account_arguments import add_keys_options, add_users_options
from service.cli.administration.report_arguments import (
    add_agents_options,
    add_audit_options,
    add_usage_options,
)
from service.cli.client.arguments import add_ask_options, add_top_options
from service.cli.evaluation.arguments import add_evaluate_options
from service.cli.parser import CommandParser, program_name
from service.cli.replay_arguments import add_export_options, add_replay_options
from service.version import VERSION

_MODEL_OPTIONS = """\
A model's name may have options after a question mark, such as
mock?tokens=200&gap_ms=5&fault=reset, which set the length, the pace and the
faults of its answers; mock?dialect=mistral answers in the format of that
server. service/mock_llm/script.py lists all of them.
"""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command, its name as `command`, and all `arguments`.

    Invalid ones exit with 2.
    """
    program = program_name()
    parser = CommandParser(
        prog=program,
        description="Asks several LLM agents at once and streams their combined answer.",
        epilog=f"{program} serve --help lists the options of serve; other commands likewise.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    parsers = {
        name: commands.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=_MODEL_OPTIONS if name == "mock" else None,
        )
        for name, (summary, _) in _COMMANDS.items()
    }
    for name, (_, add_options) in _COMMANDS.items():
        add_options(parsers[name])
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parsers[options.command].refuse(unknown)
    options.arguments = tuple(arguments)
    return options


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of processes; overrides WORKERS (1)"
    )
    parser.add_argument(
        "--host", help="interface to listen on; overrides HOST and HTTP_ADDR (all interfaces)"
    )
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="port to listen on, 0 chooses a free one; overrides PORT and HTTP_ADDR (8080)",
    )


def _add_migrate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="only check whether it is needed")
    parser.add_argument(
        "--down-to", metavar="REVISION", help='migrate back; "base" drops all tables'
    )


def _add_mock_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="interface to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=9100,
        metavar="N",
        help="port to listen on, 0 chooses a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="start of the random delays and texts, to repeat them (default: %(default)s)",
    )


def _add_no_options(_parser: argparse.ArgumentParser) -> None:
    pass


# The commands for users, each with its summary and a function that adds its options.
_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "serve": ("start the service", _add_serve_options),
    "ask": ("ask a question, or start a chat", add_ask_options),
    "top": ("watch a running service", add_top_options),
    "migrate": ("migrate the database to this version", _add_migrate_options),
    "users": ("manage users on the configured database", add_users_options),
    "keys": ("manage API keys on the configured database", add_keys_options),
    "usage": ("show runs, tokens and cost of the configured database", add_usage_options),
    "agents": (
        "show what each agent contributes and costs, and which one to drop",
        add_agents_options,
    ),
    "audit": ("list or verify the audit log of the configured database", add_audit_options),
    "evaluate": ("compare ensembles with their members on questions", add_evaluate_options),
    "export": ("write a stored run to a file", add_export_options),
    "replay": ("serve a stored run as a model server", add_replay_options),
    "mock": ("serve the mock LLM over a socket", _add_mock_options),
    "check": ("validate the settings and the ensembles file", _add_no_options),
}
