"""The caller behind a credential: a static key, a user's key, a token, a web session.

A caller with a credential that is not valid is never the anonymous one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from service.access.api_keys import PREFIX, parse_key
from service.access.credentials import Credential
from service.access.principal import AuthMethod, Principal
from service.access.scopes import limit_scopes
from service.accounts.key_use import KeyUse
from service.accounts.lookup import CachedLookup
from service.errors import RequestError
from service.store.accounts.credentials import ActiveKey, ActiveUser

_STATIC_SCOPES = frozenset({"run", "read", "write"})  # no `keys`: there is no user to own them


class TokenResolver(Protocol):
    """Finds the caller of a JWT."""

    async def resolve_token(self, token: str) -> Principal:
        """Return the caller. Raises RequestError `unauthorized`, and StorageUnavailable."""


class SessionResolver(Protocol):
    """Finds the caller of a web session by the token in its cookie."""

    async def resolve_session(self, token: str) -> Principal | None:
        """Return the caller, None for an unknown or ended session. Raises StorageUnavailable."""

    def forget(self) -> None:
        """Forget cached sessions: accounts have changed."""

    async def flush(self) -> None:
        """Store when sessions were used."""


def read_utc() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


def refuse(message: str) -> RequestError:
    """Return the error for a credential that is not valid. The message must not contain it."""
    return RequestError("unauthorized", message)


class Resolver:
    """Finds the principal of a credential.

    `tokens` and `sessions` are None where tokens and web sessions are not accepted.
    """

    def __init__(
        self,
        keys: CachedLookup[ActiveKey],
        use: KeyUse,
        *,
        static_key: str | None = None,
        tokens: TokenResolver | None = None,
        sessions: SessionResolver | None = None,
        read_now: Callable[[], datetime] = read_utc,
    ) -> None:
        self._keys = keys
        self._use = use
        self._static_hash = _digest(static_key) if static_key else None
        self._tokens = tokens
        self._sessions = sessions
        self._read_now = read_now

    async def resolve(self, credential: Credential) -> Principal:
        """Return the caller with this credential, without address and route.

        Raises RequestError `unauthorized`, and StorageUnavailable when it cannot be checked.
        """
        value = credential.value
        if credential.source == "Cookie":
            return await self._resolve_session(value)
        if self._static_hash and hmac.compare_digest(_digest(value), self._static_hash):
            return Principal(
                role="user", scopes=limit_scopes("user", _STATIC_SCOPES), method="static_key"
            )
        if value.startswith(PREFIX):
            return await self._resolve_key(value)
        if self._tokens and value.count(".") == 2:
            return await self._tokens.resolve_token(value)
        raise refuse("The key is not valid.")

    async def _resolve_key(self, text: str) -> Principal:
        key = parse_key(text)
        if key is None:
            raise refuse("The key is incomplete or mistyped: its checksum is wrong.")
        known = await self._keys.find(key.id)
        if known is None or not key.matches(known.secret_hash):
            raise refuse("The key is not valid.")
        now = self._read_now()
        if fault := known.find_fault(now):
            raise refuse(fault)
        self._use.note(known.id, now)
        return make_principal(known.user, "key", known)

    async def _resolve_session(self, token: str) -> Principal:
        principal = await self._sessions.resolve_session(token) if self._sessions else None
        if principal is None:
            raise refuse("The session has ended. Log in again.")
        return principal


def make_principal(user: ActiveUser, method: AuthMethod, key: ActiveKey | None = None) -> Principal:
    """Return a user as a caller, with the scopes that the key leaves of those of the role."""
    return Principal(
        owner=user.id,
        user=user.name,
        role=user.role,
        scopes=limit_scopes(user.role, key.scopes if key else None),
        method=method,
        key_id=key.id if key else None,
        user_limits=user.limits,
        key_limits=key.limits if key else None,
    )


def _digest(text: str) -> bytes:
    """Return a hash, so that a comparison reveals neither content nor length."""
    return hashlib.sha256(text.encode()).digest()
