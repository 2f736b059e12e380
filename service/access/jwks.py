"""The public keys that verify tokens, from a JSON Web Key Set.

A key is used with exactly one algorithm, which follows from its type: RS256, ES256 or EdDSA.
Symmetric keys in a set are ignored: a public document cannot contain a secret.
Source: RFC 7517; RFC 8725, 3.1
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_MIN_RSA_BITS = 2_048  # RFC 7518, 3.3
_PRIVATE = ("d", "p", "q", "k")


class JwksError(Exception):
    """A key set that cannot be used."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the only algorithm that it is used with; `kid` is None without an id."""

    kid: str | None
    algorithm: str
    key: Any


class KeySet:
    """Keys, found by their id and algorithm."""

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """Return the key with this id and algorithm.

        Without an id it is the only key of the algorithm; a key without an id fits no id.
        """
        fitting = [each for each in self._keys if each.algorithm == algorithm]
        if kid is not None:
            fitting = [each for each in fitting if each.kid == kid]
        return fitting[0] if len(fitting) == 1 else None


def parse_jwks(text: str | bytes) -> KeySet:
    """Return the usable keys of a JWKS document. Raises JwksError if there are none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JwksError("it is not JSON") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise JwksError('it is not a JWKS: {"keys": […]}')
    keys = [key for each in listed if isinstance(each, dict) and (key := _read_key(each))]
    if not keys:
        raise JwksError("it has no public key for RS256, ES256 or EdDSA")
    return KeySet(keys)


def _read_key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """Return a key, None if it cannot verify signatures of tokens."""
    operations = jwk.get("key_ops")
    is_for_signatures = jwk.get("use", "sig") == "sig" and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )
    if not is_for_signatures or jwk.get("kty") == "oct":
        return None
    public = {name: value for name, value in jwk.items() if name not in _PRIVATE}
    try:
        key = jwt.PyJWK({**public, "alg": None}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    algorithm, kid = _algorithm_of(key), jwk.get("kid")
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    return VerificationKey(kid if isinstance(kid, str) else None, algorithm, key)


def _algorithm_of(key: object) -> str | None:
    if isinstance(key, RSAPublicKey):
        return "RS256" if key.key_size >= _MIN_RSA_BITS else None
    if isinstance(key, EllipticCurvePublicKey):
        return "ES256" if isinstance(key.curve, SECP256R1) else None
    return "EdDSA" if isinstance(key, Ed25519PublicKey) else None
