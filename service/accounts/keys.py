"""Administration of API keys: create, change, revoke, rotate. A key is shown once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from service.access.api_keys import ApiKey, generate_key
from service.access.principal import AccessScope, Principal
from service.access.scopes import ROLE_SCOPES
from service.accounts.audit import make_entry
from service.errors import FieldError, RequestError
from service.store.accounts.keys import KeyStore
from service.store.accounts.records import StoredKey, StoredUser
from service.store.lists.pages import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key to create. `scopes` None: all that the creator may give."""

    name: str
    scopes: Sequence[AccessScope] | None = None
    limits: Mapping[str, Any] | None = None
    expires_at: datetime | None = None


class KeyAdministration:
    """Changes the keys of a user, or of all users where `user_id` is None.

    `by` is the caller, and names it in the audit log; a name stands for the command line, which
    has every scope. Every method raises StorageUnavailable, and RequestError: 404 for an unknown
    key, 400 for an unsuitable field, 403 for scopes that the caller does not have.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def list_page(self, user_id: str | None, limit: int, offset: int) -> Page[StoredKey]:
        """Return a page of the keys that are not revoked, newest first."""
        return await self._keys.list_page(user_id, limit, offset)

    async def find(self, user_id: str | None, key_id: str) -> StoredKey:
        """Return a key."""
        found = await self._keys.find(user_id, key_id)
        if found is None:
            raise key_not_found()
        return found

    async def create(
        self, user: StoredUser, new: NewApiKey, by: Principal | str
    ) -> tuple[ApiKey, StoredKey]:
        """Add a key of `user`; return it with its text, which is not stored."""
        now, key = datetime.now(UTC), generate_key()
        _check_expiry(new.expires_at, now)
        stored = StoredKey(
            id=key.id,
            user_id=user.id,
            name=new.name,
            secret_hash=key.hash,
            scopes=_choose_scopes(new.scopes, user, by),
            limits=new.limits,
            created_at=now,
            expires_at=new.expires_at,
        )
        await self._keys.add(stored, [make_entry("key.created", by, key.id, owner=user.id)])
        return key, stored

    async def change(
        self, user_id: str | None, key_id: str, by: Principal | str, values: Mapping[str, Any]
    ) -> StoredKey:
        """Change `name`, `scopes`, `limits` or `expires_at` of a key."""
        found = await self.find(user_id, key_id)
        _check_own_scopes(found, by)
        if not values:
            return found
        if values.get("scopes") is not None:
            _check_scopes(values["scopes"], by)
        elif "scopes" in values:
            values = {**values, "scopes": _inherit_scopes(by)}
        _check_expiry(values.get("expires_at"), datetime.now(UTC))
        entries = [make_entry("key.changed", by, key_id, fields=tuple(sorted(values)))]
        changed = await self._keys.change(found.user_id, key_id, values, entries)
        if changed is None:
            raise key_not_found()
        return changed

    async def revoke(self, user_id: str | None, key_id: str, by: Principal | str) -> None:
        """Revoke a key: it is refused within a second."""
        values = {"revoked_at": datetime.now(UTC)}
        if not await self._keys.change(
            user_id, key_id, values, [make_entry("key.revoked", by, key_id)]
        ):
            raise key_not_found()

    async def rotate(
        self, user_id: str | None, key_id: str, by: Principal | str, grace_s: float
    ) -> tuple[ApiKey, StoredKey]:
        """Replace a key by one with the same permissions; the old one expires after `grace_s`."""
        found, now, key = await self.find(user_id, key_id), datetime.now(UTC), generate_key()
        _check_own_scopes(found, by)
        if found.expires_at is not None and found.expires_at <= now:
            raise RequestError("bad_request", "The key has expired; create a new one.")
        stored = replace(found, id=key.id, secret_hash=key.hash, created_at=now, last_used_at=None)
        until = now + timedelta(seconds=grace_s)
        entries = [make_entry("key.rotated", by, key_id, replaced_by=key.id)]
        if not await self._keys.replace(found, stored, until, entries):
            raise key_not_found()
        return key, stored


def key_not_found() -> RequestError:
    """Return the error for an unknown key, also for another user's."""
    return RequestError("key_not_found", "There is no such key.")


def _choose_scopes(
    scopes: Sequence[AccessScope] | None, user: StoredUser, by: Principal | str
) -> Sequence[AccessScope] | None:
    """Return the scopes of a new key; None, those of the user's role, only if the caller has all.

    Raises RequestError 403.
    """
    if scopes is not None:
        _check_scopes(scopes, by)
        return sorted(set(scopes))
    inherited = _inherit_scopes(by)
    if inherited is not None and ROLE_SCOPES[user.role] <= set(inherited):
        return None
    return inherited


def _inherit_scopes(by: Principal | str) -> Sequence[AccessScope] | None:
    """Return the scopes of a key without scopes of its own, None for those of the role."""
    if isinstance(by, str) or by.scopes >= ROLE_SCOPES[by.role]:
        return None
    return sorted(by.scopes)


def _check_scopes(scopes: Sequence[AccessScope], by: Principal | str) -> None:
    lacking = sorted(set(scopes) - by.scopes) if isinstance(by, Principal) else []
    if lacking:
        raise RequestError(
            "forbidden", f"The caller cannot give scopes that it does not have: {lacking[0]}."
        )


def _check_own_scopes(key: StoredKey, by: Principal | str) -> None:
    """Raise RequestError 403 unless the caller has all scopes of a key that it changes.

    Otherwise a restricted key could rotate a powerful one and receive its replacement.
    """
    if isinstance(by, str) or by.may("admin"):
        return
    _check_scopes(key.scopes if key.scopes is not None else sorted(ROLE_SCOPES[by.role]), by)


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise RequestError(
            "bad_request",
            "The request is not valid: expires_at: must be in the future.",
            [FieldError("expires_at", "must be in the future")],
        )
