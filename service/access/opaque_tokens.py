"""Random tokens of sessions, forms, invitations and browsers, and values derived from them.

A token has 256 bits, so a plain SHA-256 of it can be stored and cannot be inverted. Values that a
page or a form returns are derived from a secret of the same browser by HMAC: no secret of the
service is needed, and every process derives the same value.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

_TOKEN_BYTES = 32
_NONCE_BYTES = 16


def new_token() -> str:
    """Return a new token, 43 characters of base64url."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """Return the SHA-256 of a token, which is stored in its place."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def make_csrf_token(secret: str) -> str:
    """Return the value that a page sends back, derived from the token in its cookie."""
    return _sign(secret, "csrf")


def is_csrf_token(value: str, secret: str) -> bool:
    """Return whether `value` is derived from `secret`, in constant time."""
    return _are_equal(value, make_csrf_token(secret))


def make_device_token(password_hash: str) -> str:
    """Return a cookie that proves an earlier login of this browser to the account.

    It is signed with the stored hash of the password, so a new password invalidates it.
    """
    nonce = secrets.token_urlsafe(_NONCE_BYTES)
    return f"{nonce}.{_sign(password_hash, f'device:{nonce}')}"


def read_device_token(value: str, password_hash: str) -> str:
    """Return the identity of the browser, "" unless the account with this hash signed it."""
    nonce, _, signature = value.partition(".")
    return nonce if nonce and _are_equal(signature, _sign(password_hash, f"device:{nonce}")) else ""


def _sign(secret: str, purpose: str) -> str:
    key = secret.encode("utf-8", "replace")
    return hmac.new(key, purpose.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _are_equal(value: str, expected: str) -> bool:
    return hmac.compare_digest(value.encode("utf-8", "replace"), expected.encode())
