"""Tools and response formats in requests to the mock, and sample values for JSON schemas.

Supports the part of JSON Schema that tools' arguments and structured answers use.
Source: https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from collections.abc import Mapping
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


def make_sample(schema: Mapping[str, Any], text: str) -> Any:
    """Return a value that matches `schema`; unrestricted strings are `text`."""
    return _make_sample(schema, schema, text, 0)


def _make_sample(schema: Mapping[str, Any], root: Mapping[str, Any], text: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if "$ref" in schema:
        return _make_sample(_resolve_reference(schema["$ref"], root), root, text, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return _make_sample(schema[several][0], root, text, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties: Mapping[str, Any] = schema.get("properties", {})
        return {
            name: _make_sample(each, root, text, depth + 1) for name, each in properties.items()
        }
    if kind == "array":
        length = schema.get("minItems", 0 if depth > _MAX_DEPTH // 2 else 1)
        return [_make_sample(schema.get("items", {}), root, text, depth + 1) for _ in range(length)]
    plain = {"integer": schema.get("minimum", 7), "number": schema.get("minimum", 1.5)}
    plain |= {"boolean": True, "null": None, "string": text[: schema.get("maxLength")]}
    return plain.get(kind, text)


def _resolve_reference(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema at a reference like `#/$defs/step`; an empty one if it is unknown."""
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name:
            found = found.get(name, {})
    return found if isinstance(found, Mapping) else {}
