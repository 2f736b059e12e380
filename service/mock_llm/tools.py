"""Tools and response formats in requests to the mock, and sample values for JSON schemas.

Supports the part of JSON Schema that tools' arguments and structured answers use.
Source: https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
_MAX_DEPTH = 20  # a schema may contain itself


class MockFunction(Struct):
    """The name of a tool and the schema of its arguments."""

    name: _Name
    description: str | None = None
    parameters: dict[str, Any] = {}
    strict: bool | None = None


class MockTool(Struct):
    """A tool that the request offers."""

    type: Literal["function"]
    function: MockFunction


class _ToolName(Struct):
    name: _Name


class NamedTool(Struct):
    """The tool that the request wants to be called."""

    type: Literal["function"]
    function: _ToolName


class _Call(Struct):
    name: _Name
    arguments: str


class CalledTool(Struct):
    """A tool call in an assistant's message; `arguments` is JSON."""

    id: str
    type: Literal["function"]
    function: _Call


class TextFormat(Struct, tag="text", tag_field="type"):
    """An answer in plain text."""


class ObjectFormat(Struct, tag="json_object", tag_field="type"):
    """An answer that is any JSON object."""


class _Schema(Struct):
    name: _Name
    schema: dict[str, Any] = {}
    strict: bool | None = None


class SchemaFormat(Struct, tag="json_schema", tag_field="type"):
    """An answer that matches a schema."""

    json_schema: _Schema


ResponseFormat = TextFormat | ObjectFormat | SchemaFormat


class SampleMaker:
    """Makes values that match a schema; unrestricted strings are `text`.

    Numbers within bounds and arrays of different values are random, from `seed`: so verdicts on
    several answers differ.
    """

    def __init__(self, schema: Mapping[str, Any], text: str, seed: str = "") -> None:
        self._root = schema
        self._text = text
        self._random = Random(seed)  # noqa: S311  # the same request gets the same verdict

    def make(self) -> Any:
        """Return a value for the schema."""
        return self._make(self._root, 0)

    def _make(self, schema: Mapping[str, Any], depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return None
        if "$ref" in schema:
            return self._make(_resolve_reference(schema["$ref"], self._root), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        for several in ("anyOf", "oneOf", "allOf"):
            if schema.get(several):
                return self._make(schema[several][0], depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            properties: Mapping[str, Any] = schema.get("properties", {})
            return {name: self._make(each, depth + 1) for name, each in properties.items()}
        if kind == "array":
            return self._make_array(schema, depth)
        return self._make_plain(kind, schema)

    def _make_array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        length = schema.get("minItems", 0 if depth > _MAX_DEPTH // 2 else 1)
        items = schema.get("items", {})
        choices = items.get("enum", [])
        if schema.get("uniqueItems") and length <= len(choices):
            return self._random.sample(choices, length)
        return [self._make(items, depth + 1) for _ in range(length)]

    def _make_plain(self, kind: str, schema: Mapping[str, Any]) -> Any:
        least, most = schema.get("minimum"), schema.get("maximum")
        if kind in ("integer", "number") and isinstance(least, int) and isinstance(most, int):
            return self._random.randint(least, most)
        plain = {
            "integer": 7 if least is None else least,
            "number": 1.5 if least is None else least,
        }
        plain |= {"boolean": True, "null": None, "string": self._text[: schema.get("maxLength")]}
        return plain.get(kind, self._text)


def _resolve_reference(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema at a reference like `#/$defs/step`; an empty one if it is unknown."""
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name:
            found = found.get(name, {})
    return found if isinstance(found, Mapping) else {}
