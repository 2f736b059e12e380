"""The arguments of the commands `users` and `keys`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.access.principal import ALL_SCOPES
from service.access.scopes import ROLES

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LIMITS: Final = (
    ("--requests", "60/minute", str, "requests per second, minute, hour, day, week or month"),
    ("--burst", "N", int, "requests at once, beyond an even pace"),
    ("--streams", "N", int, "streams open at once"),
    ("--tokens", "100000/day", str, "tokens per period"),
    ("--cost-usd", "5/month", str, "US dollars per period"),
)


def add_users_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `users` and their options."""
    add = _make_adder(parser)
    command = add("add", "add a user")
    command.add_argument("name", help="name of the new user")
    command.add_argument(
        "--email", default="", help="e-mail address, with which one can log in too"
    )
    _add_role(command)
    command.add_argument(
        "--admin", action="store_const", const="admin", dest="role", help="the same as --role admin"
    )
    _add_password(command)
    add("list", "list the users")
    for action, summary in (
        ("disable", "refuse all requests and logins of a user"),
        ("enable", "undo disable"),
        ("adopt", "transfer the data from before accounts to a user"),
    ):
        _add_user(add(action, summary))
    command = _add_user(add("role", "change the role of a user"))
    command.add_argument("role", choices=ROLES)
    command = _add_user(add("limits", "show or change the limits of a user"))
    _add_limits(command)
    command.add_argument("--none", action="store_true", help="remove all limits")
    _add_password(_add_user(add("password", "set the password of a user; ends their sessions")))
    command = add("invite", "create an invitation to register, valid for a week")
    command.add_argument("--email", help="e-mail address of the new user")
    _add_role(command)
    command = _add_user(add("delete", "delete a user with all their data"))
    command.add_argument("--transfer-to", metavar="USER", help="the user who receives the data")
    command.add_argument("--yes", action="store_true", help="do not ask for a confirmation")


def add_keys_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `keys` and their options."""
    add = _make_adder(parser)
    command = add("create", "create an API key, which is shown once")
    command.add_argument("--user", required=True, help="name of the user")
    command.add_argument("--name", required=True, metavar="LABEL", help="label, such as laptop")
    command.add_argument(
        "--scopes",
        type=_read_scopes,
        metavar="run,read",
        help=f"of {', '.join(sorted(ALL_SCOPES))}; by default all of the user's role",
    )
    command.add_argument(
        "--expires", type=_read_expiry, metavar="30d", help="lifetime, or a date (2027-01-31)"
    )
    _add_limits(command)
    add("list", "list the keys").add_argument("--user", help="only the keys of this user")
    add("revoke", "revoke a key").add_argument("id", help="the 12 characters after sk-lsse-")
    command = add("rotate", "replace a key by a new one with the same permissions")
    command.add_argument("id", help="the 12 characters after sk-lsse-")
    command.add_argument(
        "--grace",
        type=_read_duration,
        default=timedelta(),
        metavar="1h",
        help="time for which the old key remains valid (none)",
    )


def _make_adder(parser: argparse.ArgumentParser) -> Callable[[str, str], argparse.ArgumentParser]:
    actions = parser.add_subparsers(required=True, metavar="action", dest="action")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(
            name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}."
        )
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    return add


def _add_user(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("user", help="name or id of the user")
    return parser


def _add_role(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=ROLES, default="user", help="(default: %(default)s)")


def _add_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from the first line of the standard input",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    for name, example, kind, summary in _LIMITS:
        options: dict[str, Any] = {"metavar": example, "type": kind, "help": summary}
        parser.add_argument(name, **options)


def read_limits(options: argparse.Namespace) -> dict[str, Any]:
    """Return the limits among the options, by the keys of a rule."""
    names = (name.removeprefix("--").replace("-", "_") for name, *_ in _LIMITS)
    found = {name: getattr(options, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _read_scopes(text: str) -> list[str]:
    scopes = [each.strip() for each in text.split(",") if each.strip()]
    unknown = [each for each in scopes if each not in ALL_SCOPES]
    if unknown or not scopes:
        raise argparse.ArgumentTypeError(f"must be some of {', '.join(sorted(ALL_SCOPES))}")
    return scopes


def _read_duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError("must look like 30d, 12h, 90m or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _read_expiry(text: str) -> datetime:
    if _DURATION.fullmatch(text.strip()):
        return datetime.now(UTC) + _read_duration(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError("must look like 30d, 12h or 2027-01-31") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
