"""The command `users`: add, list, change, invite, delete, adopt."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from service.accounts.logins.registration import create_invite, parse_email_field
from service.accounts.users import NewUser
from service.cli.administration.account_arguments import read_limits
from service.cli.administration.accounts import COMMAND_LINE, AccountTools
from service.cli.output import CommandOutput, format_moment, make_table
from service.errors import RequestError
from service.limits.tables import check_stored_limits
from service.store.accounts.records import StoredUser

_PAGE = 1_000
_COLUMNS = ("name", "role", "email", "disabled", "has_password", "limits", "created_at", "id")


async def run_users(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    """Run an action of `users`. Raises RequestError, StorageUnavailable."""
    return await _ACTIONS[options.action](options, tools)


def show_user(user: StoredUser) -> dict[str, Any]:
    """Return a user as JSON."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "disabled": user.disabled_at is not None,
        "has_password": user.password_hash is not None,
        "limits": user.limits,
        "created_at": format_moment(user.created_at),
    }


async def _add(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    password = _read_password(options, is_optional=True)
    new = NewUser(name=options.name, email=options.email, password=password, role=options.role)
    user = await tools.users.create(new, COMMAND_LINE)
    note = "" if password else f"{user.name} has no password: keys work, logging in does not."
    return CommandOutput(f"Added {user.name} with the role {user.role}.", show_user(user), note)


async def _list(_options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    users: list[StoredUser] = []
    while part := (await tools.users.list_page(_PAGE, len(users))).items:
        users += part
    rows = [show_user(each) for each in users]
    empty = "There are no users; `python -m service users add <name> --admin` adds one."
    return CommandOutput(make_table(_COLUMNS, rows, empty), {"items": rows})


async def _disable(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    return await _change(options, tools, {"disabled": True}, "{} is disabled.")


async def _enable(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    return await _change(options, tools, {"disabled": False}, "{} is enabled.")


async def _role(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    values = {"role": options.role}
    return await _change(options, tools, values, f"{{}} has the role {options.role}.")


async def _limits(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    changes = read_limits(options)
    user = await tools.users.find(options.user)
    if changes or options.none:
        limits = check_limits({**({} if options.none else user.limits or {}), **changes})
        user = await tools.users.change(user.id, COMMAND_LINE, {"limits": limits})
    lines = [f"{name} = {value}" for name, value in (user.limits or {}).items()]
    text = "\n".join(lines) or f"{user.name} has no limits besides those of limits.toml."
    return CommandOutput(text, show_user(user))


async def _password(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    await tools.users.find(options.user)
    values = {"password": _read_password(options, is_optional=False)}
    return await _change(options, tools, values, "The password of {} is set.")


async def _invite(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    email = parse_email_field(options.email) if options.email else None
    token, invite = await create_invite(tools.invites, options.role, email, COMMAND_LINE)
    path = f"/web/register?invite={token}"
    data = {
        "invite": token,
        "path": path,
        "role": invite.role,
        "email": invite.email,
        "expires_at": format_moment(invite.expires_at),
    }
    return CommandOutput(path, data, "Valid for a week, once; it is not shown again.")


async def _delete(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    user = await tools.users.find(options.user)
    if not options.yes:
        sys.stderr.write(f"Type {user.name} to delete this user with all data: ")
        sys.stderr.flush()
        if sys.stdin.readline().strip() != user.name:
            raise RequestError("bad_request", "Nothing was deleted; a script needs --yes.")
    await tools.users.delete(user.id, COMMAND_LINE, options.transfer_to)
    return CommandOutput(f"Deleted {user.name}.", {"id": user.id, "deleted": True})


async def _adopt(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    user = await tools.users.find(options.user)
    moved = await tools.users.adopt(user.id, COMMAND_LINE)
    text = f"{user.name} has received {moved.conversations} conversations and {moved.runs} runs."
    if moved.renamed:
        text += f" {moved.renamed} conversations have new ids, because theirs were in use."
    data = {
        "user": user.name,
        "conversations": moved.conversations,
        "runs": moved.runs,
        "renamed": moved.renamed,
    }
    return CommandOutput(text, data)


async def _change(
    options: argparse.Namespace, tools: AccountTools, values: Mapping[str, Any], text: str
) -> CommandOutput:
    user = await tools.users.change(options.user, COMMAND_LINE, values)
    return CommandOutput(text.format(user.name), show_user(user))


def check_limits(limits: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return limits as they are stored. Raises RequestError."""
    try:
        return check_stored_limits(limits)
    except ValueError as error:
        raise RequestError("bad_request", f"The limits are not valid: {error}.") from None


def _read_password(options: argparse.Namespace, *, is_optional: bool) -> str | None:
    """Return the password from the standard input or a prompt.

    Without a terminal and without `--password-stdin` a new user has none.
    """
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        if is_optional:
            return None
        raise RequestError("bad_request", "There is no terminal: use --password-stdin.")
    hint = " (empty: none)" if is_optional else ""
    password = getpass.getpass(f"Password{hint}: ")
    if is_optional and not password:
        return None
    if getpass.getpass("Password again: ") != password:
        raise RequestError("bad_request", "The passwords differ.")
    return password


_ACTIONS: Mapping[str, Callable[[argparse.Namespace, AccountTools], Awaitable[CommandOutput]]] = {
    "add": _add,
    "list": _list,
    "disable": _disable,
    "enable": _enable,
    "role": _role,
    "limits": _limits,
    "password": _password,
    "invite": _invite,
    "delete": _delete,
    "adopt": _adopt,
}
