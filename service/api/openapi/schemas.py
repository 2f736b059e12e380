"""JSON Schemas of the types that requests and responses use, as OpenAPI components."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

_COMPONENTS = "#/components/schemas/"
_Mode = Literal["validation", "serialization"]
# Component names that differ from the class's name. Generated clients use them, so they stay when
# a class is renamed or moved.
COMPONENT_NAMES = {
    "ChatStreamOptions": "openai_request.StreamOptions",
    "ChatTurn": "chat.Turn",
    "CompletionMessage": "openai_shapes.MessageShown",
    "CompletionTurn": "openai_request.Turn",
    "ConversationReference": "responses_shapes.ConversationShown",
    "Liveness": "Fine",
    "ConversationSummary": "conversations.ConversationShown",
    "ResponseStreamOptions": "responses_request.StreamOptions",
    "StoredMessage": "own_conversations.MessageShown",
    "TextContent": "Words",
}


class _Untitled(GenerateJsonSchema):
    """Omits titles that only repeat the name of a field."""

    def field_title_should_be_set(self, _schema: object) -> bool:
        return False


class Schemas:
    """The schemas of `types`: models and TypedDicts by reference, others in place."""

    def __init__(self, types: Iterable[Any]) -> None:
        wanted = {_key(each): each for each in types}
        inputs: list[tuple[str, _Mode, TypeAdapter[Any]]] = [
            (key, _mode(each), TypeAdapter(each)) for key, each in wanted.items()
        ]
        found, definitions = TypeAdapter.json_schemas(
            inputs, ref_template=_COMPONENTS + "{model}", schema_generator=_Untitled
        )
        self._found = _rename({key: schema for (key, _), schema in found.items()})
        self.components = _rename(definitions.get("$defs", {}))

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of one of the types that were passed in."""
        return dict(self._found[_key(kind)])


def _rename(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return `schemas` with the public component names, as keys and in references."""
    renamed = {
        COMPONENT_NAMES.get(key, key): _rename_references(each) for key, each in schemas.items()
    }
    for name in COMPONENT_NAMES.values() & renamed.keys():
        renamed[name]["title"] = name.rpartition(".")[2]
    return renamed


def _rename_references(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_rename_references(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _rename_reference(each) if key == "$ref" else _rename_references(each)
        for key, each in schema.items()
    }


def _rename_reference(path: str) -> str:
    name = path.removeprefix(_COMPONENTS)
    return _COMPONENTS + COMPONENT_NAMES.get(name, name)


def _key(kind: Any) -> str:
    return f"{getattr(kind, '__module__', '')}.{kind!r}"


def _mode(kind: Any) -> _Mode:
    # A request may omit a field with a default; a response always has it.
    is_request = isinstance(kind, type) and issubclass(kind, BaseModel)
    return "validation" if is_request else "serialization"
