"""The credential of a request: the first that is present, in a fixed order of places.

`Authorization: Bearer`, `X-API-Key`, the WebSocket subprotocol `bearer.<key>`, the cookie of a web
session. A malformed one is an error, and never replaced by the next: else a proxy or a page that
adds a header could change the caller. The query is never read: it is in logs and histories.
Source: RFC 6750, 2.1 and 5.3
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

MAX_BYTES = 8_192
SUBPROTOCOL_PREFIX = "bearer."

CredentialSource = Literal["Authorization", "X-API-Key", "Sec-WebSocket-Protocol", "Cookie"]

_BEARER = re.compile(r"(?i:bearer) +(?P<value>[\x21-\x7e]+)")
_VALUE = re.compile(r"[\x21-\x7e]+")


class CredentialError(Exception):
    """A credential that is present and cannot be one; the message does not contain it."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential in the form of its place, not verified."""

    source: CredentialSource
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedValues:
    """The values of all places of a request in which a credential may be, as received."""

    authorization: Sequence[str] = ()
    api_key: Sequence[str] = ()
    subprotocols: Sequence[str] = ()
    cookies: Sequence[str] = ()

    def find(self) -> Credential | None:
        """Return the credential, None when all places are empty. Raises CredentialError."""
        if self.authorization:
            return Credential(
                "Authorization", _read_bearer(_only("Authorization", self.authorization))
            )
        if self.api_key:
            return Credential("X-API-Key", _check(_only("X-API-Key", self.api_key), "X-API-Key"))
        if keys := find_bearers(self.subprotocols):
            value = _only("Sec-WebSocket-Protocol", keys).removeprefix(SUBPROTOCOL_PREFIX)
            return Credential("Sec-WebSocket-Protocol", _check(value, "Sec-WebSocket-Protocol"))
        if cookies := [each for each in self.cookies if each]:
            return Credential("Cookie", _check(_only("Cookie", cookies), "Cookie"))
        return None


def find_bearers(subprotocols: Sequence[str]) -> list[str]:
    """Return the subprotocols that carry a key."""
    return [each for each in subprotocols if each.startswith(SUBPROTOCOL_PREFIX)]


def _only(source: CredentialSource, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise CredentialError(f"The request has several credentials in {source}; send one.")
    return values[0]


def _read_bearer(header: str) -> str:
    match = _BEARER.fullmatch(header)
    if not match:
        raise CredentialError("The Authorization header must be `Bearer` and a key or token.")
    return _check(match["value"], "Authorization")


def _check(value: str, source: CredentialSource) -> str:
    if len(value) > MAX_BYTES:
        raise CredentialError(f"The credential in {source} is longer than {MAX_BYTES:,} bytes.")
    if not _VALUE.fullmatch(value):
        raise CredentialError(f"The credential in {source} has characters that no key has.")
    return value
