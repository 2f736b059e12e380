"""Validation of JSON by the part of JSON Schema that structured answers use.

Keywords outside of that part are ignored, so a value can only be accepted too easily.
Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_MOST_DEPTH = 50
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": (int, float),
}


def find_schema_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Return the first reason why `value` does not match; None if it does."""
    return next(_Validator(schema).check(value, schema, "the answer", 0), None)


class _Validator:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def check(self, value: Any, schema: Any, at: str, depth: int) -> Iterator[str]:
        """Yield the faults of a value, whose place is `at`."""
        if not isinstance(schema, Mapping) or depth > _MOST_DEPTH:
            if schema is False:
                yield f"{at} is not allowed"
            return
        if "$ref" in schema:
            yield from self.check(value, self._resolve(schema["$ref"]), at, depth + 1)
        if "const" in schema and not _equal(value, schema["const"]):
            yield f"{at} must be {schema['const']!r}"
        if "enum" in schema and not any(_equal(value, each) for each in schema["enum"]):
            yield f"{at} must be one of {schema['enum']}"
        yield from self._check_alternatives(value, schema, at, depth)
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(_has_type(value, kind) for kind in kinds):
            yield f"{at} must be of type {' or '.join(map(str, kinds))}"
        elif isinstance(value, dict):
            yield from self._check_object(value, schema, at, depth)
        elif isinstance(value, list):
            yield from self._check_array(value, schema, at, depth)
        else:
            yield from _check_plain(value, schema, at)

    def _check_alternatives(
        self, value: Any, schema: Mapping[str, Any], at: str, depth: int
    ) -> Iterator[str]:
        for each in schema.get("allOf", ()):
            yield from self.check(value, each, at, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            faults = [
                next(self.check(value, each, at, depth + 1), None)
                for each in schema.get(keyword, ())
            ]
            if faults and None not in faults:
                yield str(faults[0])

    def _check_object(
        self, value: Mapping[str, Any], schema: Mapping[str, Any], at: str, depth: int
    ) -> Iterator[str]:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{at} lacks {name!r}"
        for name, each in value.items():
            if name in properties:
                yield from self.check(each, properties[name], f"{at}.{name}", depth + 1)
            elif others is False:
                yield f"{at} must not have {name!r}"
            else:
                yield from self.check(each, others, f"{at}.{name}", depth + 1)

    def _check_array(
        self, value: list[Any], schema: Mapping[str, Any], at: str, depth: int
    ) -> Iterator[str]:
        yield from _check_length(len(value), schema, ("minItems", "maxItems"), f"{at} has")
        for number, each in enumerate(value):
            yield from self.check(each, schema.get("items", True), f"{at}[{number}]", depth + 1)

    def _resolve(self, reference: Any) -> Any:
        found: Any = self._root
        for name in str(reference).removeprefix("#").strip("/").split("/"):
            if name:
                found = found.get(name, {}) if isinstance(found, Mapping) else {}
        return found


def _equal(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _has_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    known = _TYPES.get(kind)
    return known is None or isinstance(value, known)


def _check_plain(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    if isinstance(value, str):
        yield from _check_length(len(value), schema, ("minLength", "maxLength"), f"{at} has")
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and not _matches(pattern, value):
            yield f"{at} must match {pattern!r}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_length(value, schema, ("minimum", "maximum"), f"{at} is")


def _check_length(
    size: float, schema: Mapping[str, Any], names: tuple[str, str], at: str
) -> Iterator[str]:
    least, most = (schema.get(name) for name in names)
    if isinstance(least, int | float) and size < least:
        yield f"{at} {size}, less than {names[0]} {least}"
    if isinstance(most, int | float) and size > most:
        yield f"{at} {size}, more than {names[1]} {most}"


def _matches(pattern: str, value: str) -> bool:
    """Return whether a value matches; a pattern that Python cannot read matches everything."""
    try:
        return re.search(pattern, value) is not None
    except (re.error, RecursionError):
        return True
