"""The waits between attempts to log in: for each account, address and known browser.

An account is counted for all addresses together, so that many machines cannot guess one password
faster. That count would let a stranger lock the owner out, so a browser that has logged in before
is known by a cookie, and is counted apart from all others: neither the account's count nor that of
its address applies to it. API keys need no login, and the command line is not limited.
Source: https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from service.access.addresses import counted_address
from service.access.backoff import Backoff
from service.access.names import make_name_key
from service.errors import RequestError

_ACCOUNT: Final = Backoff(free=10)
_DEVICE: Final = Backoff(free=10)
_ADDRESS: Final = Backoff(free=30)
_REGISTRATION: Final = Backoff(free=30)


class AttemptCounts(Protocol):
    """Counts of attempts that all processes share. Every method raises StorageUnavailable."""

    async def take(self, subjects: Mapping[str, Backoff]) -> float: ...
    async def undo(self, subjects: Sequence[str]) -> None: ...
    async def forget(self, subjects: Sequence[str]) -> None: ...
    async def close(self) -> None: ...


class LoginThrottle:
    """Admits attempts to log in and to register. Every method raises StorageUnavailable.

    `address` is a client's address, counted as its /64 network for IPv6. `device` is the identity
    of a browser that has logged in to the account before ("": an unknown one).
    """

    def __init__(self, counts: AttemptCounts) -> None:
        self._counts = counts

    async def admit_login(self, account: str, address: str, device: str) -> None:
        """Count an attempt. Raises RequestError 429 while attempts have to wait."""
        await self._admit(_login_subjects(account, address, device))

    async def note_success(self, account: str, address: str, device: str) -> None:
        """Take back the attempt: the password was right."""
        own, *shared = _login_subjects(account, address, device)
        await self._counts.forget([own])
        if shared:
            await self._counts.undo(shared)

    async def admit_registration(self, address: str) -> None:
        """Count a registration. Raises RequestError 429 while further ones have to wait."""
        await self._admit({_hash("registration", counted_address(address)): _REGISTRATION})

    async def close(self) -> None:
        """Close the connections of the counts."""
        await self._counts.close()

    async def _admit(self, subjects: Mapping[str, Backoff]) -> None:
        wait_s = await self._counts.take(subjects)
        if wait_s > 0:
            seconds = math.ceil(wait_s)
            raise RequestError(
                "too_many_attempts",
                f"Too many attempts; the next one is possible in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )


def _login_subjects(account: str, address: str, device: str) -> Mapping[str, Backoff]:
    if device:
        return {_hash("device", device): _DEVICE}
    return {
        _hash("account", make_name_key(account)): _ACCOUNT,
        _hash("address", counted_address(address)): _ADDRESS,
    }


def _hash(kind: str, subject: str) -> str:
    return blake2b(f"{kind}:{subject}".encode(), digest_size=16).hexdigest()
