"""The command `keys`: create, list, revoke, rotate."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from service.access.api_keys import ApiKey
from service.accounts.keys import NewApiKey
from service.cli.administration.account_arguments import read_limits
from service.cli.administration.accounts import COMMAND_LINE, AccountTools
from service.cli.administration.users import check_limits
from service.cli.output import CommandOutput, format_moment, make_table
from service.errors import RequestError
from service.store.accounts.records import StoredKey, StoredUser

_PAGE = 1_000
_COLUMNS = ("id", "user", "name", "scopes", "limits", "created_at", "expires_at", "last_used_at")
_SHOWN_ONCE = "The key is not stored and not shown again."


async def run_keys(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    """Run an action of `keys`. Raises RequestError, StorageUnavailable."""
    return await _ACTIONS[options.action](options, tools)


def show_key(key: StoredKey, user: str) -> dict[str, Any]:
    """Return a key of `user` as JSON, without its text."""
    return {
        "id": key.id,
        "user": user,
        "name": key.name,
        "scopes": key.scopes,
        "limits": key.limits,
        "created_at": format_moment(key.created_at),
        "expires_at": format_moment(key.expires_at),
        "last_used_at": format_moment(key.last_used_at),
        "replaced_by": key.replaced_by,
    }


async def _create(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    user = await _find_user(options.user, tools)
    new = NewApiKey(
        name=options.name,
        scopes=options.scopes,
        limits=check_limits(read_limits(options)),
        expires_at=options.expires,
    )
    return _show_new(*await tools.keys.create(user, new, COMMAND_LINE), user.name)


async def _list(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    only = (await _find_user(options.user, tools)).id if options.user else None
    keys: list[StoredKey] = []
    while part := (await tools.keys.list_page(only, _PAGE, len(keys))).items:
        keys += part
    names: dict[str, str] = {}
    for each in keys:
        if each.user_id not in names:
            names[each.user_id] = (await tools.users.find(each.user_id)).name
    rows = [show_key(each, names[each.user_id]) for each in keys]
    return CommandOutput(make_table(_COLUMNS, rows, "There are no keys."), {"items": rows})


async def _revoke(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    key_id = _read_id(options.id)
    await tools.keys.revoke(None, key_id, COMMAND_LINE)
    return CommandOutput(f"Revoked {key_id}.", {"id": key_id, "revoked": True})


async def _rotate(options: argparse.Namespace, tools: AccountTools) -> CommandOutput:
    key_id, grace_s = _read_id(options.id), options.grace.total_seconds()
    key, stored = await tools.keys.rotate(None, key_id, COMMAND_LINE, grace_s)
    return _show_new(key, stored, (await tools.users.find(stored.user_id)).name)


def _show_new(key: ApiKey, stored: StoredKey, user: str) -> CommandOutput:
    data = {**show_key(stored, user), "key": key.text}
    return CommandOutput(key.text, data, f"{_SHOWN_ONCE} Its id is {key.id}.")


def _read_id(text: str) -> str:
    """Return the id of a key, also where the complete key was given."""
    return text.strip().removeprefix("sk-lsse-")[:12]


async def _find_user(name: str, tools: AccountTools) -> StoredUser:
    try:
        return await tools.users.find(name)
    except RequestError:
        raise RequestError(
            "user_not_found",
            f"There is no user {name}. `python -m service users add {name}` adds one.",
        ) from None


_ACTIONS: Mapping[str, Callable[[argparse.Namespace, AccountTools], Awaitable[CommandOutput]]] = {
    "create": _create,
    "list": _list,
    "revoke": _revoke,
    "rotate": _rotate,
}
