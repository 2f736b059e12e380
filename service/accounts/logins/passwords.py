"""Passwords: their accepted forms, and argon2id hashes off the event loop.

A password is compared as OpaqueString of RFC 8265: spaces of every kind are equal, and so are
composed and decomposed letters (NFC), because keyboards differ in them. Nothing is cut off.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, TypeVar

from service.access.names import make_name_key
from service.accounts.logins.common_passwords import COMMON_PASSWORDS
from service.errors import RequestError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_BYTES = 8
MAX_BYTES = 1_024
_MIN_DIFFERENT = 3  # characters: `aaaaaaaa` and `12121212` are common passwords too

_AT_ONCE = 2
_MAX_WAITING = 32  # a second of work: each hash takes 40 ms on one core
_REPLACEMENT = "\ufffd"  # the parser of bodies puts it in the place of a lone surrogate

# OWASP's second choice of equal strength: 19 MiB, 2 passes. 64 MiB would let a few requests
# without credentials occupy both cores.
# Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
_PASSES: Final = 2
_MEMORY_KIB: Final = 19_456

T = TypeVar("T")


def normalize_password(text: str) -> str:
    """Return a password in the form that is hashed. Raises ValueError for one that cannot exist."""
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)
    password = unicodedata.normalize("NFC", spaced)
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in password):
        raise ValueError("must not contain control characters or incomplete characters")
    if _REPLACEMENT in password:
        raise ValueError("must not contain incomplete characters")
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"must not be longer than {MAX_BYTES} bytes")
    return password


def check_new_password(text: str, name: str) -> str:
    """Return a new password of the user `name` in its normal form.

    Raises ValueError with a sentence for the user.
    """
    password = normalize_password(text)
    if len(password.encode()) < MIN_BYTES:
        raise ValueError(f"must have at least {MIN_BYTES} bytes")
    folded = make_name_key(password)
    if folded == make_name_key(name):
        raise ValueError("must not be the name")
    if folded in COMMON_PASSWORDS or len(set(folded)) < _MIN_DIFFERENT:
        raise ValueError("is among the first that an attacker tries")
    return password


class Passwords:
    """Hashes and verifies passwords, two at a time.

    Raises RequestError 503 when too many callers wait: each hash takes memory and a core.
    `hash_count` is the number of hashes computed, also by verifications.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self.hash_count = 0
        self._given = hasher
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher  # imported for the first password

        return self._given or PasswordHasher(_PASSES, _MEMORY_KIB, parallelism=1)

    @cached_property
    def _decoy(self) -> str:
        return _make_decoy(self._hasher)

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a normalized password, with its parameters and salt."""
        return await self._run(partial(self._hasher.hash, password))

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Return whether `password` has this hash.

        Without a hash the same work is done on a hash that no password has, so that the time does
        not show whether a user exists.
        """
        return await self._run(partial(self._verify, hashed, password))

    def needs_rehash(self, hashed: str) -> bool:
        """Return whether the hash has other parameters than new ones."""
        return self._hasher.check_needs_rehash(hashed)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise RequestError(
                "overloaded",
                "Too many logins at once; please try again shortly.",
                headers={"Retry-After": "2"},
            )
        self._waiting += 1
        try:
            self.hash_count += 1
            return await asyncio.wrap_future(self._threads.submit(work))
        finally:
            self._waiting -= 1

    def _verify(self, hashed: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            self._hasher.verify(hashed or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return False
        return hashed is not None


def _make_decoy(hasher: PasswordHasher) -> str:
    """Return a hash with the parameters of `hasher` that no known password has."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
        for size in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"
