"""The arguments of the commands `usage`, `agents` and `audit`."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, date, datetime, timedelta
from typing import get_args

from service.store.audit.entries import AuditAction
from service.store.usage.report import DIMENSIONS

_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_usage_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `usage`."""
    known = ", ".join(DIMENSIONS)
    parser.add_argument("--by", metavar="NAMES", help=f"group by some of {known}, with commas")
    parser.add_argument("--user", help="name or id of one user (default: all users)")
    parser.add_argument(
        "--from", dest="since", type=_read_day, metavar="DAY", help="first day (30 days ago)"
    )
    parser.add_argument("--to", dest="until", type=_read_day, metavar="DAY", help="last day")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_agents_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `agents`."""
    parser.add_argument(
        "--since",
        type=_read_since,
        default=timedelta(days=30),
        metavar="TIME",
        help="a span such as 30d, 12h or 4w, or a day such as 2026-11-26 (default: 30d)",
    )
    parser.add_argument("--ensemble", metavar="NAME", help="only runs of this ensemble")
    parser.add_argument("--user", help="name or id of one user (default: all users)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _read_since(text: str) -> timedelta | datetime:
    if found := _SPAN.fullmatch(text):
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a span such as 30d, or a day") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def add_audit_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `audit` and their options."""
    actions = parser.add_subparsers(required=True, metavar="action", dest="action")
    listed = actions.add_parser("list", help="list the rows, the last one first")
    listed.add_argument("--from", dest="since", type=_read_moment, metavar="TIME")
    listed.add_argument("--to", dest="until", type=_read_moment, metavar="TIME")
    listed.add_argument("--actor", metavar="NAME", help="only rows of this actor")
    listed.add_argument(
        "--action",
        dest="only",
        choices=get_args(AuditAction),
        metavar="NAME",
        help="only rows of this action, such as login.failed",
    )
    listed.add_argument(
        "--limit", type=_read_count, default=100, metavar="N", help="(default: 100)"
    )
    verified = actions.add_parser("verify", help="find changed, missing and inserted rows")
    verified.add_argument(
        "--since", metavar="HASH", help="a hash that an earlier verification printed"
    )
    for each in (listed, verified):
        each.add_argument("--json", action="store_true", help="print JSON")


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 9):
        raise argparse.ArgumentTypeError("must be a whole number")
    return int(text)


def _read_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a day such as 2026-11-26") from None


def _read_moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a day or a time in ISO 8601") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
