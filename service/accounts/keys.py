"""Administration of API keys: create, change, revoke, rotate. A key is shown once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from service.access.api_keys import ApiKey, generate_key
from service.access.principal import AccessScope, Principal, Role
from service.accounts.audit import make_entry
from service.accounts.key_permissions import (
    cap_expiry,
    check_may_change,
    check_may_create,
    choose_scopes,
)
from service.errors import FieldError, RequestError
from service.store.accounts.keys import KeyStore
from service.store.accounts.records import StoredKey, StoredUser
from service.store.accounts.users import UserStore
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

    def __init__(self, keys: KeyStore, users: UserStore) -> None:
        self._keys = keys
        self._users = users

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
        """Add a key of `user`; return it with its text, which is not stored.

        A key that a key with an expiry creates expires with it at the latest.
        """
        check_may_create(by)
        now, key = datetime.now(UTC), generate_key()
        _check_expiry(new.expires_at, now)
        stored = StoredKey(
            id=key.id,
            user_id=user.id,
            name=new.name,
            secret_hash=key.hash,
            scopes=choose_scopes(new.scopes, user.role, by),
            limits=new.limits,
            created_at=now,
            expires_at=cap_expiry(new.expires_at, await self._read_expiry_of(by)),
        )
        await self._keys.add(stored, [make_entry("key.created", by, key.id, owner=user.id)])
        return key, stored

    async def change(
        self, user_id: str | None, key_id: str, by: Principal | str, values: Mapping[str, Any]
    ) -> StoredKey:
        """Change `name`, `scopes`, `limits` or `expires_at` of a key."""
        found, role = await self._find_changeable(user_id, key_id, by)
        if not values:
            return found
        values = dict(values)
        if "scopes" in values:
            values["scopes"] = choose_scopes(values["scopes"], role, by)
        if "expires_at" in values:
            _check_expiry(values["expires_at"], datetime.now(UTC))
            own = await self._read_expiry_of(by)
            values["expires_at"] = cap_expiry(values["expires_at"], own)
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
        found, _ = await self._find_changeable(user_id, key_id, by)
        now, key = datetime.now(UTC), generate_key()
        if found.expires_at is not None and found.expires_at <= now:
            raise RequestError("bad_request", "The key has expired; create a new one.")
        expires_at = cap_expiry(found.expires_at, await self._read_expiry_of(by))
        stored = replace(found, id=key.id, secret_hash=key.hash, created_at=now, last_used_at=None)
        stored = replace(stored, expires_at=expires_at)
        until = now + timedelta(seconds=grace_s)
        entries = [make_entry("key.rotated", by, key_id, replaced_by=key.id)]
        if not await self._keys.replace(found, stored, until, entries):
            raise key_not_found()
        return key, stored

    async def _find_changeable(
        self, user_id: str | None, key_id: str, by: Principal | str
    ) -> tuple[StoredKey, Role]:
        """Return a key that the caller may change, and the role of its owner."""
        found = await self.find(user_id, key_id)
        owner = await self._users.find(found.user_id)
        if owner is None:
            raise key_not_found()
        check_may_change(found, owner.role, by)
        return found, owner.role

    async def _read_expiry_of(self, by: Principal | str) -> datetime | None:
        """Return the expiry of the key that is the caller, None for others."""
        if isinstance(by, str) or by.key_id is None or by.may("admin"):
            return None
        own = await self._keys.find(by.owner, by.key_id)
        return own.expires_at if own else None


def key_not_found() -> RequestError:
    """Return the error for an unknown key, also for another user's."""
    return RequestError("key_not_found", "There is no such key.")


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise RequestError(
            "bad_request",
            "The request is not valid: expires_at: must be in the future.",
            [FieldError("expires_at", "must be in the future")],
        )
