"""The caller of a JWT: a user of the service by id, or an owner of the issuer's own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from time import time

from service.access.jwks import KeySet
from service.access.principal import JWT_OWNER_PREFIX, Principal, Role
from service.access.scopes import ROLES, limit_scopes
from service.access.strict_jws import TokenError
from service.access.tokens import (
    HMAC,
    PUBLIC_KEY_ALGORITHMS,
    TokenClaims,
    TokenVerifier,
    UnknownKeyError,
)
from service.accounts.lookup import CachedLookup
from service.accounts.signing_keys import KeySource
from service.errors import RequestError
from service.settings import Settings
from service.store.accounts.credentials import ActiveUser

_USER_ID_PREFIX = "user_"
_USER_ID = re.compile(_USER_ID_PREFIX + "[0-9a-f]{32}")
_MAX_VERIFIED = 10_000


def make_verifier(settings: Settings) -> TokenVerifier:
    """Return the verifier for the tokens that the settings accept."""
    algorithms = frozenset({HMAC}) if settings.jwt_secret else PUBLIC_KEY_ALGORITHMS
    return TokenVerifier(settings.jwt_issuer or "", settings.jwt_audience or "", algorithms)


class Tokens:
    """Finds the callers of tokens.

    A subject is a user of the service only if it is the user's id, which the service chooses. A
    name would not do: anyone may register under the name that the issuer gives to another person.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        source: KeySource,
        users: CachedLookup[ActiveUser],
        read_time_s: Callable[[], float] = time,
    ) -> None:
        self._verifier = verifier
        self._source = source
        self._users = users
        self._read_time_s = read_time_s
        # By a hash of the token; those of `_verified_with`, the keys at that time.
        self._verified: dict[bytes, TokenClaims] = {}
        self._verified_with: KeySet | None = None

    async def resolve_token(self, token: str) -> Principal:
        """Return the caller. Raises RequestError, and StorageUnavailable."""
        try:
            claims = await self._verify(token)
        except TokenError as error:
            raise RequestError("unauthorized", str(error)) from None
        if claims.subject.startswith(_USER_ID_PREFIX):
            user = await self._users.find(claims.subject)
            if user is not None:
                return _make_user_principal(user, claims)
        if _USER_ID.fullmatch(claims.subject):  # else a deleted user would have a second life
            raise RequestError("unauthorized", "The user of the token does not exist.")
        owner = JWT_OWNER_PREFIX + claims.subject
        return _make_principal(owner, owner, claims.role or "user", claims)

    async def _verify(self, token: str) -> TokenClaims:
        """Return the claims of a token; the signature of each token is verified once.

        That takes 0.1 ms of CPU, a third of what a request may cost.
        """
        keys = self._source.keys
        if keys is None:
            raise RequestError(
                "keys_unavailable", "The keys that verify tokens could not be loaded yet."
            )
        if keys is not self._verified_with:
            self._verified, self._verified_with = {}, keys
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = await self._verify_signature(token, keys)
            self._remember(digest, claims)
        claims.check_time(self._read_time_s())
        return claims

    async def _verify_signature(self, token: str, keys: KeySet) -> TokenClaims:
        try:
            return self._verifier.verify(token, keys)
        except UnknownKeyError:
            await self._source.reload()
            if self._source.keys is keys:
                raise
            return self._verifier.verify(token, self._source.keys or keys)

    def _remember(self, digest: bytes, claims: TokenClaims) -> None:
        if len(self._verified) >= _MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = claims


def _make_user_principal(user: ActiveUser, claims: TokenClaims) -> Principal:
    if user.is_disabled:
        raise RequestError("unauthorized", "The user of the token is disabled.")
    made = _make_principal(user.id, user.name, _lower_role(user.role, claims.role), claims)
    return replace(made, user_limits=user.limits)


def _make_principal(owner: str, user: str, role: Role, claims: TokenClaims) -> Principal:
    scopes = limit_scopes(role, claims.scopes)
    return Principal(owner=owner, user=user, role=role, scopes=scopes, method="jwt")


def _lower_role(of_user: Role, of_token: Role | None) -> Role:
    """Return the role with fewer scopes: a token restricts its user and never extends them."""
    return of_user if of_token is None else max(of_user, of_token, key=ROLES.index)
