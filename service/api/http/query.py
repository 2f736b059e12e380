"""What an address carries beside its path: declared once, checked, described, refused by name.

_LANG = OneOf("lang", "The language of the words.", ("en", "simple"), "en")
@Operation(…, parameters=(*PAGE, _LANG))
… _LANG.read()
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quart import request

from service.api.http.body import TEXT_PATTERN
from service.errors import FieldError, RequestError

# As `requests.Identifier`. Nothing else can be the id of anything, and a database may refuse it.
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True)
class IntParam:
    """A parameter that is a whole number, `least` to `most`."""

    name: str
    description: str
    default: int
    least: int
    most: int

    def read(self) -> int:
        """Return its value in this request. Raises RequestError 400."""
        value = request.args.get(self.name)
        if value is None:
            return self.default
        if value.isascii() and value.isdigit() and len(value) <= 9:
            number = int(value)
            if self.least <= number <= self.most:
                return number
        raise refused(self.name, f"must be a whole number from {self.least} to {self.most}")

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return _parameter(self.name, self.description, {**schema, "default": self.default})


@dataclass(frozen=True, slots=True)
class ChoiceParam:
    """A parameter that is one of `choices`."""

    name: str
    description: str
    choices: tuple[str, ...]
    default: str

    def read(self, default: str = "") -> str:
        """Return its value in this request. Raises RequestError 400."""
        value = request.args.get(self.name, default or self.default)
        if value in self.choices:
            return value
        raise refused(self.name, f"must be one of {', '.join(self.choices)}")

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "string", "enum": list(self.choices), "default": self.default}
        return _parameter(self.name, self.description, schema)


@dataclass(frozen=True, slots=True)
class TextParam:
    """A parameter that is a text: not blank, of `most` characters."""

    name: str
    description: str
    most: int
    required: bool = True

    def read(self) -> str:
        """Return its value in this request. Raises RequestError 400, also when it is not there."""
        value = self.given()
        if value is None:
            raise refused(self.name, "this parameter is required")
        return value

    def given(self) -> str | None:
        """Return its value in this request, if there is one. Raises RequestError 400."""
        value = request.args.get(self.name)
        if value is None:
            return None
        if not value.strip():
            raise refused(self.name, "must not be blank")
        if "\0" in value:
            raise refused(self.name, "must not contain a NUL character")
        if len(value) > self.most:
            raise refused(self.name, f"must not be longer than {self.most} characters")
        return value

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "string", "pattern": TEXT_PATTERN, "maxLength": self.most}
        shown = _parameter(self.name, self.description, schema)
        return {**shown, "required": True} if self.required else shown


@dataclass(frozen=True, slots=True)
class RunId:
    """A parameter that is the id of a run."""

    name: str
    description: str

    def given(self) -> str | None:
        """Return its value in this request, if there is one. Raises RequestError 400."""
        value = request.args.get(self.name)
        if value is not None and not may_be_id(value):
            raise refused(self.name, "must be the id of a run")
        return value

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "string", "pattern": f"^{_ID.pattern}$"}
        return _parameter(self.name, self.description, schema)


@dataclass(frozen=True, slots=True)
class Position:
    """A parameter that is the number of an event in a stream, 0 unless given."""

    name: str
    description: str

    def read(self) -> int:
        """Return its value in this request. Raises RequestError 400."""
        value = request.args.get(self.name, "0")
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise RequestError("bad_position", f"{self.name} must be the seq of an event.")
        return int(value)

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0}
        return _parameter(self.name, self.description, schema)


LIMIT = IntParam("limit", "How many at most.", 10, 1, 100)
OFFSET = IntParam("offset", "How many to pass over first.", 0, 0, 999_999_999)
PAGE = (LIMIT, OFFSET)


def page() -> tuple[int, int]:
    """Return `limit` and `offset`. Raises RequestError 400."""
    return LIMIT.read(), OFFSET.read()


def may_be_id(value: str) -> bool:
    """Return whether `value` could be the id of anything."""
    return _ID.fullmatch(value) is not None


def refused(name: str, why: str) -> RequestError:
    """Return the error for a parameter that does not fit."""
    return RequestError(
        "bad_request", f"The request does not fit: {name}: {why}.", [FieldError(name, why)]
    )


def _parameter(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}
