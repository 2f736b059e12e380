"""The arguments of the commands `export` and `replay`."""

from __future__ import annotations

import argparse
import math


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.add_argument("run", help="id of the run, in the configured database")
    parser.add_argument("--out", metavar="FILE", help="file to write (default: standard output)")


def add_replay_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `replay`."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="RUN",
        help="id of a run in the configured database, an exported file, or - for standard input",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="interface to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=_read_port,
        default=9100,
        metavar="N",
        help="port to listen on, 0 chooses a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=_read_speed,
        default=1.0,
        metavar="X",
        help="factor of the recorded pace, 0 for no waits (default: %(default)s)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse questions that were not recorded with 404"
    )
    parser.add_argument(
        "--events",
        action="store_true",
        help="print the event stream of the run, at its pace, and serve nothing",
    )
    parser.add_argument(
        "--write-ensembles",
        metavar="FILE",
        help="write the ensembles file with which a service repeats the run",
    )


def _read_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a port from 0 to 65535")
    return int(text)


def _read_speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 <= speed <= 1_000_000:
        raise argparse.ArgumentTypeError("must be a number from 0 to 1000000")
    return speed
