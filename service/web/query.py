"""What an address carries beside its path: checked, and refused by name."""

from __future__ import annotations

import re
from collections.abc import Collection

from quart import request

from service.errors import FieldError, RequestError

# As `requests.Identifier`. Nothing else can be the id of anything, and a database may refuse it.
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MOST_OFFSET = 999_999_999


def page() -> tuple[int, int]:
    """Return `limit` (1 to 100, 10 unless given) and `offset`. Raises RequestError 400."""
    return number("limit", 10, 1, 100), number("offset", 0, 0, _MOST_OFFSET)


def number(name: str, default: int, least: int, most: int) -> int:
    """Return a parameter that is a whole number. Raises RequestError 400."""
    value = request.args.get(name)
    if value is None:
        return default
    if value.isascii() and value.isdigit() and len(value) <= 9 and least <= int(value) <= most:
        return int(value)
    raise refused(name, f"must be a whole number from {least} to {most}")


def one_of(name: str, choices: Collection[str], default: str) -> str:
    """Return a parameter that is one of `choices`. Raises RequestError 400."""
    value = request.args.get(name, default)
    if value in choices:
        return value
    raise refused(name, f"must be one of {', '.join(choices)}")


def text(name: str, most: int) -> str:
    """Return a parameter that must be there: not blank, of `most` characters. Raises 400."""
    value = request.args.get(name)
    if value is None:
        raise refused(name, "this parameter is required")
    if not value.strip():
        raise refused(name, "must not be blank")
    if "\0" in value:
        raise refused(name, "must not contain a NUL character")
    if len(value) > most:
        raise refused(name, f"must not be longer than {most} characters")
    return value


def may_be_id(value: str) -> bool:
    """Return whether `value` could be the id of anything."""
    return _ID.fullmatch(value) is not None


def refused(name: str, why: str) -> RequestError:
    """Return the error for a parameter that does not fit."""
    return RequestError(
        400, "bad_request", f"The request does not fit: {name}: {why}.", [FieldError(name, why)]
    )
