"""The arguments of the client commands: ask and top."""

from __future__ import annotations

import argparse
from pathlib import Path

_ENVIRONMENT = """\
LLM_SSE_URL and LLM_SSE_API_KEY stand for --url and --api-key. Without a URL the question is
answered in this process, with the settings and the database of `serve`.

Exit codes: 0 answered, 1 failed, 2 wrong usage, 3 degraded (with --strict), 130 interrupted,
141 the reader of the output has left.
"""


def add_ask_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ask`."""
    parser.epilog = _ENVIRONMENT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "question",
        nargs="*",
        metavar="QUESTION",
        help="the question; without one, the standard input, or on a terminal a chat",
    )
    _add_service_options(parser)
    parser.add_argument("--ensemble", metavar="NAME", help="ensemble, or agent/NAME for one agent")
    parser.add_argument("--conversation", metavar="ID", help="continue a conversation")
    parser.add_argument("--resume", metavar="RUN", help="show an existing run, from its start")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="add a text file to the question; may be repeated",
    )
    parser.add_argument("--no-stdin", action="store_true", help="do not read a piped input")
    parser.add_argument("--json", action="store_true", help="print every event as a line of JSON")
    parser.add_argument(
        "--stream-agents", action="store_true", help="with --json: also the agents' texts"
    )
    parser.add_argument(
        "--reasoning", action="store_true", help="with --json: also the models' reasoning"
    )
    parser.add_argument(
        "--no-stream", action="store_true", help="print the answer when it is complete"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 3 for a degraded answer")
    parser.add_argument(
        "--max-tokens", type=_read_positive, metavar="N", help="limit of each model's answer"
    )
    parser.add_argument("--timeout", type=_read_seconds, metavar="S", help="limit of the run, in s")


def add_top_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `top`."""
    _add_service_options(parser)
    parser.add_argument(
        "--interval",
        type=_read_seconds,
        default=2.0,
        metavar="S",
        help="time between two pictures in s (default: %(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="print one picture and exit")
    parser.add_argument("--json", action="store_true", help="print JSON, one line per interval")


def _add_service_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the address of a running service, http://host:8080")
    parser.add_argument(
        "--api-key", metavar="KEY", help="its key; LLM_SSE_API_KEY is not visible to other users"
    )


def _read_positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _read_seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError("must be between 0 and 86400 seconds")
    return value
