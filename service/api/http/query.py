"""Query parameters: declared once, validated, and described in `/openapi.json`.

_LANG = ChoiceParam("lang", "The language of the query.", ("en", "simple"), "en")
@Operation(…, parameters=(*PAGE, _LANG))
… _LANG.read()
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quart import request

from service.api.http.body import IDENTIFIER_PATTERN, TEXT_PATTERN, invalid_request
from service.errors import FieldError, RequestError

# No resource has another id, and a database may refuse one.
_ID = re.compile(IDENTIFIER_PATTERN)


@dataclass(frozen=True, slots=True)
class IntParam:
    """An integer parameter from `least` to `most`."""

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
        raise invalid(self.name, f"must be a whole number from {self.least} to {self.most}")

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return _parameter(self.name, self.description, {**schema, "default": self.default})


@dataclass(frozen=True, slots=True)
class ChoiceParam:
    """A parameter with one of the values `choices`."""

    name: str
    description: str
    choices: tuple[str, ...]
    default: str

    def read(self, default: str = "") -> str:
        """Return its value in this request. Raises RequestError 400."""
        value = request.args.get(self.name, default or self.default)
        if value in self.choices:
            return value
        raise invalid(self.name, f"must be one of {', '.join(self.choices)}")

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "string", "enum": list(self.choices), "default": self.default}
        return _parameter(self.name, self.description, schema)


@dataclass(frozen=True, slots=True)
class TextParam:
    """A text parameter: not blank, at most `most` characters."""

    name: str
    description: str
    most: int
    required: bool = True

    def read(self) -> str:
        """Return its value in this request. Raises RequestError 400, also when it is missing."""
        value = self.read_optional()
        if value is None:
            raise invalid(self.name, "this parameter is required")
        return value

    def read_optional(self) -> str | None:
        """Return its value in this request, or None. Raises RequestError 400."""
        value = request.args.get(self.name)
        if value is None:
            return None
        if not value.strip():
            raise invalid(self.name, "must not be blank")
        if "\0" in value:
            raise invalid(self.name, "must not contain a NUL character")
        if len(value) > self.most:
            raise invalid(self.name, f"must not be longer than {self.most} characters")
        return value

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "string", "pattern": TEXT_PATTERN, "maxLength": self.most}
        shown = _parameter(self.name, self.description, schema)
        return {**shown, "required": True} if self.required else shown


@dataclass(frozen=True, slots=True)
class RunIdParam:
    """A parameter with the id of a run."""

    name: str
    description: str

    def read_optional(self) -> str | None:
        """Return its value in this request, or None. Raises RequestError 400."""
        value = request.args.get(self.name)
        if value is not None and not is_valid_id(value):
            raise invalid(self.name, "must be the id of a run")
        return value

    def parameter(self) -> dict[str, Any]:
        """Return it as OpenAPI's Parameter Object."""
        schema = {"type": "string", "pattern": IDENTIFIER_PATTERN}
        return _parameter(self.name, self.description, schema)


@dataclass(frozen=True, slots=True)
class SequenceParam:
    """A parameter with the sequence number of an event, by default 0."""

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


LIMIT = IntParam("limit", "The maximum number of items.", 10, 1, 100)
OFFSET = IntParam("offset", "The number of items to skip.", 0, 0, 999_999_999)
PAGE = (LIMIT, OFFSET)


def read_page() -> tuple[int, int]:
    """Return `limit` and `offset`. Raises RequestError 400, with the errors of both."""
    limit, offset = read_all(LIMIT.read, OFFSET.read)
    return limit, offset


def read_all(*reads: Callable[[], Any]) -> list[Any]:
    """Return the values of several parameters. Raises RequestError 400, with the errors of all."""
    values: list[Any] = []
    faults: list[FieldError] = []
    for read in reads:
        try:
            values.append(read())
        except RequestError as error:
            if error.code != "bad_request":
                raise
            faults += error.details
    if faults:
        raise invalid_request(faults)
    return values


def is_valid_id(value: str) -> bool:
    """Return whether `value` has the format of an id."""
    return _ID.fullmatch(value) is not None


def invalid(name: str, why: str) -> RequestError:
    """Return the error for a parameter with an invalid value."""
    return invalid_request([FieldError(name, why)])


def _parameter(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}
