"""`/web/account`: the visitor's keys, logins, password, usage and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from quart import Blueprint, Response

from service.access.principal import AccessScope
from service.api.accounts.callers import find_session
from service.api.accounts.key_usage import read_key_usage
from service.api.accounts.schemas import KeyUsage
from service.api.http.principal import current_principal, needs_scope
from service.api.http.query import IntParam
from service.api.limits.shown import list_limits
from service.errors import RequestError
from service.pages.accounts.browsers import describe_program
from service.pages.accounts.limits import describe_limit
from service.pages.dependencies import PageDependencies
from service.pages.usage.period import read_period
from service.pages.usage.report import read_usage
from service.store.accounts.records import StoredKey, StoredUser, WebSession

_KEYS_PER_PAGE: Final = 50
_KEYS = IntParam("keys", "The number of newer keys to skip.", 0, 0, 999_999)
_SCOPES: Final[tuple[tuple[AccessScope, str], ...]] = (
    ("run", "ask questions"),
    ("read", "read answers, conversations and usage"),
    ("write", "rename and delete"),
    ("keys", "manage your keys"),
    ("admin", "manage all users and keys"),
)
_DEFAULT_SCOPES: Final = frozenset({"run", "read", "write"})


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key of the list. `state` is in words: `valid`, `expired`, or until when it is valid."""

    key: StoredKey
    usage: KeyUsage
    state: str
    is_expired: bool


def install(blueprint: Blueprint, pages: PageDependencies) -> None:
    """Add the account page."""

    @blueprint.get("/web/account")
    @needs_scope("read")
    async def account_page() -> Response:
        principal, user = current_principal(), await _find_user(pages)
        limits = await list_limits(pages.api, principal)
        return pages.render(
            "accounts/account.html",
            user=user,
            usage=await read_usage(pages.api.store.usage, principal.owner, read_period()),
            limits=[describe_limit(each) for each in limits],
            sharing=pages.api.limiter.describe_sharing(),
            **await _read_keys(pages, user),
            **await _read_sessions(pages, user),
        )


async def _find_user(pages: PageDependencies) -> StoredUser | None:
    """Return the user of the visitor; None with AUTH=off and for a foreign token."""
    try:
        return await pages.api.account_services.find_caller(current_principal())
    except RequestError as error:
        if error.code in ("accounts_off", "no_account"):
            return None
        raise


async def _read_keys(pages: PageDependencies, user: StoredUser | None) -> dict[str, Any]:
    """Return the values of the list of keys; `keys` is None for a visitor who may not have any."""
    principal, offset = current_principal(), _KEYS.read()
    if user is None or not principal.may("keys"):
        return {"keys": None}
    accounts, now = pages.api.account_services, datetime.now(UTC)
    page = await accounts.keys.list_page(user.id, _KEYS_PER_PAGE, offset)
    usage = await read_key_usage(pages.api.store.usage, user.id)
    shown = [_show_key(each, usage.show(each.id), now) for each in page.items]
    end = offset + len(page.items)
    return {
        "keys": shown,
        "scopes": [
            (*each, each[0] in _DEFAULT_SCOPES) for each in _SCOPES if principal.may(each[0])
        ],
        "newer_keys": max(0, offset - _KEYS_PER_PAGE) if offset else None,
        "older_keys": end if end < page.total else None,
    }


def _show_key(key: StoredKey, usage: KeyUsage, now: datetime) -> ShownKey:
    is_expired = key.expires_at is not None and key.expires_at <= now
    if is_expired:
        state = "replaced" if key.replaced_by else "expired"
    else:
        state = "replaced, still valid" if key.replaced_by else "valid"
    return ShownKey(key, usage, state, is_expired)


async def _read_sessions(pages: PageDependencies, user: StoredUser | None) -> dict[str, Any]:
    """Return the logins of the visitor, and the id of the current one."""
    principal, accounts = current_principal(), pages.api.account_services
    sessions: Sequence[WebSession] | None = None
    if user and (principal.method == "session" or principal.may("keys")):
        sessions = await accounts.sessions.list_of(user.id)
    active = await find_session(accounts) if sessions is not None else None
    return {
        "sessions": None
        if sessions is None
        else [(each, describe_program(each.user_agent)) for each in sessions],
        "current_session": active.session.id if active else "",
    }
