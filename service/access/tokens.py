"""JWTs as credentials: verification by PyJWT, and the claims that decide about the caller.

Source: RFC 7519; RFC 8725 (best current practices)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from service.access.jwks import KeySet, VerificationKey
from service.access.principal import Role
from service.access.scopes import ROLES
from service.access.strict_jws import ParsedToken, TokenError, parse_token

HMAC: Final = "HS256"
PUBLIC_KEY_ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})

_LEEWAY_S = 10
_LAST_TIME_S = 253_402_300_799  # the year 9999
_MAX_SUBJECT_CHARS = 255  # OpenID Connect Core, 2
_REQUIRED = ("exp", "iss", "aud", "sub")
_TIMES = ("exp", "nbf", "iat")

# The reasons of PyJWT, as sentences for the client.
_REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidAudienceError: "The token is for another audience.",
    jwt.InvalidIssuerError: "The token is from another issuer.",
    jwt.MissingRequiredClaimError: "The token lacks exp, iss, aud or sub.",
    jwt.InvalidSignatureError: "The token's signature is wrong.",
}


class UnknownKeyError(TokenError):
    """A token that no known key has signed; the issuer may have a new one."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a verified token that are read.

    `role` is None when the token has no role claim; `scopes` None when it does not restrict them.
    `ends_at_s` is a Unix time, with the leeway for clocks that differ.
    """

    subject: str
    role: Role | None
    scopes: frozenset[str] | None
    ends_at_s: float

    def check_time(self, now_s: float) -> None:
        """Raise TokenError when the token has expired at the Unix time `now_s`."""
        if now_s >= self.ends_at_s:
            raise TokenError(_REASONS[jwt.ExpiredSignatureError])


class TokenVerifier:
    """Verifies tokens of one issuer for one audience, with algorithms of one family."""

    def __init__(self, issuer: str, audience: str, algorithms: frozenset[str]) -> None:
        self._issuer = issuer
        self._audience = audience
        self._algorithms = algorithms

    def verify(self, token: str, keys: KeySet) -> TokenClaims:
        """Return the claims of a valid token. Raises TokenError, UnknownKeyError."""
        parsed = parse_token(token)
        key = self._choose_key(parsed, keys)
        try:
            jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": list(_REQUIRED)},
            )
        except jwt.PyJWTError as error:
            raise TokenError(_REASONS.get(type(error), "The token is not valid.")) from None
        claims = parsed.claims
        _check_times(claims)
        ends_at_s = claims["exp"] + _LEEWAY_S
        return TokenClaims(
            _read_subject(claims), _read_role(claims), _read_scopes(claims), ends_at_s
        )

    def _choose_key(self, parsed: ParsedToken, keys: KeySet) -> VerificationKey:
        if parsed.algorithm not in self._algorithms:
            raise TokenError("The token's algorithm is not accepted.")
        kid = None if parsed.algorithm == HMAC else parsed.kid  # a shared secret has no id
        key = keys.find(kid, parsed.algorithm)
        if key is None:
            raise UnknownKeyError("The token is signed with an unknown key.")
        return key


def _check_times(claims: Mapping[str, Any]) -> None:
    """Raise TokenError unless the times are numbers: PyJWT accepts texts, too."""
    for name in _TIMES:
        if name in claims:
            value = claims[name]
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or value > _LAST_TIME_S:
                raise TokenError(f"The token's {name} is not a time.")


def _read_subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    # Control characters are not stored as they are, so that two subjects could become one.
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARS:
        raise TokenError("The token's sub must have 1 to 255 characters.")
    if not subject.isprintable():
        raise TokenError("The token's sub has characters that are not printable.")
    return subject


def _read_role(claims: Mapping[str, Any]) -> Role | None:
    """Return the highest known role of the claim; `viewer` if it names none."""
    if claims.get("role") is None:
        return None
    named = _read_words("role", claims["role"])
    return next((role for role in ROLES if role in named), "viewer")


def _read_scopes(claims: Mapping[str, Any]) -> frozenset[str] | None:
    scope = claims.get("scope")
    return None if scope is None else _read_words("scope", scope)


def _read_words(name: str, value: Any) -> frozenset[str]:
    """Return the words of a claim: a text with spaces between them, or a list of texts."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise TokenError(f"The token's {name} must be a text or a list of texts.")
    return frozenset(words)
