"""The permissions that a caller may give to a key: never more than its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service.access.principal import AccessScope, Principal, Role
from service.access.scopes import ROLE_SCOPES
from service.errors import RequestError
from service.store.accounts.records import StoredKey


def choose_scopes(
    scopes: Sequence[AccessScope] | None, owner_role: Role, by: Principal | str
) -> Sequence[AccessScope] | None:
    """Return the scopes of a key; None, those of its owner's role, only if the caller has all.

    The role of the owner decides, not that of the caller: a token can lower the role of its user.
    Raises RequestError 403.
    """
    if scopes is not None:
        _check_scopes(scopes, by)
        return sorted(set(scopes))
    if isinstance(by, str) or by.scopes >= ROLE_SCOPES[owner_role]:
        return None
    return sorted(by.scopes)


def check_may_create(by: Principal | str) -> None:
    """Raise RequestError 403 for a key with limits, which a second key would multiply."""
    if isinstance(by, Principal) and by.key_limits and not by.may("admin"):
        raise RequestError(
            "forbidden", "A key with limits of its own cannot create, change or rotate keys."
        )


def check_may_change(key: StoredKey, owner_role: Role, by: Principal | str) -> None:
    """Raise RequestError 403 unless the caller has all scopes of a key that it changes.

    Otherwise a restricted key could rotate a powerful one and receive its replacement.
    """
    if isinstance(by, str) or by.may("admin"):
        return
    check_may_create(by)
    _check_scopes(key.scopes if key.scopes is not None else sorted(ROLE_SCOPES[owner_role]), by)


def cap_expiry(expires_at: datetime | None, own: datetime | None) -> datetime | None:
    """Return the expiry of a key that a key with the expiry `own` creates or changes."""
    return min((each for each in (expires_at, own) if each is not None), default=None)


def _check_scopes(scopes: Sequence[AccessScope], by: Principal | str) -> None:
    lacking = sorted(set(scopes) - by.scopes) if isinstance(by, Principal) else []
    if lacking:
        raise RequestError(
            "forbidden", f"The caller cannot give scopes that it does not have: {lacking[0]}."
        )
