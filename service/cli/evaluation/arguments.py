"""The arguments of the command `evaluate`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Final

FORMATS: Final = ("table", "markdown", "json")
MAX_CONCURRENCY: Final = 256


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("questions", nargs="?", type=Path, help="questions, as JSON Lines")
    source.add_argument(
        "--sample", action="store_true", help="the 40 questions that the service includes"
    )
    parser.add_argument(
        "--ensembles",
        type=_read_names,
        metavar="NAMES",
        help="ensembles to compare, with commas; agent/NAME adds an agent (default: that of the "
        "ensembles file; of --sample with the mock, its own)",
    )
    parser.add_argument(
        "--judge",
        metavar="agent/NAME",
        help="the agent that compares answers without a grade (default: agent/judge)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the results (evaluations/...)"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="table", help="output (default: %(default)s)"
    )
    parser.add_argument(
        "--max-cost-usd", type=_read_money, metavar="USD", help="stop before it costs more"
    )
    parser.add_argument("--limit", type=_read_count, metavar="N", help="only N of the questions")
    parser.add_argument("--topic", action="append", metavar="NAME", help="only this topic")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the choice by --limit (default: 0)"
    )
    parser.add_argument(
        "--concurrency",
        type=_read_concurrency,
        default=4,
        metavar="N",
        help="runs at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="ask again, without the answers of earlier evaluations"
    )
    parser.add_argument(
        "--no-equal-cost",
        action="store_true",
        help="do not ask the best members several times, at the cost of the ensembles",
    )
    parser.add_argument(
        "--user", metavar="NAME", help="owner of the runs; needed with AUTH=required"
    )


def _read_names(text: str) -> list[str]:
    names = [each.strip() for each in text.split(",") if each.strip()]
    if not names:
        raise argparse.ArgumentTypeError("must be names with commas, such as fanout,auto,solo")
    return names


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:10]) > 0):
        raise argparse.ArgumentTypeError("must be a positive whole number")
    return int(text)


def _read_concurrency(text: str) -> int:
    count = _read_count(text)
    if count > MAX_CONCURRENCY:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_CONCURRENCY}")
    return count


def _read_money(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount > 0):
        raise argparse.ArgumentTypeError("must be an amount in US dollars, such as 0.50")
    return amount
