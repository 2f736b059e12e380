"""The format of API keys: `sk-lsse-<12 public>-<43 secret>-<6 checksum>`, in base 62.

The public characters are the id of the key. The secret has 256 bits, so that its SHA-256 can be
stored without a salt. The checksum is the CRC-32 of the rest: programs that search texts for leaked
keys can tell a key from a lookalike without the service, and the service refuses a mistyped key
without its database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field

PREFIX = "sk-lsse-"
PATTERN = r"sk-lsse-[0-9A-Za-z]{12}-[0-9A-Za-z]{43}-[0-9A-Za-z]{6}"
"""The regular expression of a key, for scanners; `docs/security.md` lists it."""

_KEY = re.compile(PATTERN)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PUBLIC_CHARS = 12
_SECRET_CHARS = 43  # 62**43 > 2**256
_CHECKSUM_CHARS = 6  # 62**6 > 2**32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key: `id` is public, `text` is the whole key and secret."""

    id: str
    text: str = field(repr=False)

    @property
    def hash(self) -> bytes:
        """The SHA-256 of the key, which is stored in place of it."""
        return hashlib.sha256(self.text.encode("ascii")).digest()

    def matches(self, stored_hash: bytes) -> bool:
        """Return whether this is the key with `stored_hash`, in constant time."""
        return hmac.compare_digest(self.hash, stored_hash)


def generate_key() -> ApiKey:
    """Return a new key."""
    public, secret = _random(_PUBLIC_CHARS), _random(_SECRET_CHARS)
    body = f"{PREFIX}{public}-{secret}"
    return ApiKey(public, f"{body}-{_checksum(body)}")


def parse_key(text: str) -> ApiKey | None:
    """Return the key that `text` is, None if its format or its checksum is wrong."""
    if not _KEY.fullmatch(text):
        return None
    body, _, checksum = text.rpartition("-")
    if checksum != _checksum(body):
        return None
    return ApiKey(text[len(PREFIX) : len(PREFIX) + _PUBLIC_CHARS], text)


def _random(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))


def _checksum(body: str) -> str:
    """Return the CRC-32 of `body` in base 62, padded with zeros to six characters."""
    number, digits = zlib.crc32(body.encode("ascii")), ""
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
