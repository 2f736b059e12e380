"""Strict parsing of a JWT before its signature is verified.

Parsers differ in tokens that are not well-formed: which of two equal keys counts, whether text
after the JSON is ignored. A token that two programs read differently is refused.
Source: RFC 7515, 4 and 5.2; RFC 8725, 2 and 3
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 8_192

_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_MAX_KID_CHARS = 256


class TokenError(Exception):
    """A token that is refused; the message contains nothing of it."""


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """The parts of a token whose signature is not verified."""

    algorithm: str
    kid: str | None
    claims: Mapping[str, Any]


def parse_token(token: str) -> ParsedToken:
    """Return the parts of a token. Raises TokenError."""
    if len(token) > MAX_BYTES:
        raise TokenError(f"The token is longer than {MAX_BYTES:,} bytes.")
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise TokenError("The token is not a signed JWT.")
    header, claims = _decode(match[1]), _decode(match[2])
    # Extensions that a verifier must understand; `b64` changes the signed bytes (RFC 7797).
    if "crit" in header or "b64" in header:
        raise TokenError("The token uses an extension that is not supported.")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise TokenError("The token names no algorithm.")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _MAX_KID_CHARS):
        raise TokenError("The token's key id is malformed.")
    return ParsedToken(algorithm, kid, claims)


def _decode(segment: str) -> dict[str, Any]:
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        content = json.loads(
            data.decode("utf-8"), object_pairs_hook=_make_object, parse_constant=_refuse_constant
        )
    except (binascii.Error, ValueError, RecursionError):
        raise TokenError("The token is malformed.") from None
    if not isinstance(content, dict):
        raise TokenError("The token is malformed.")
    return content


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice in one object")
    return made


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
