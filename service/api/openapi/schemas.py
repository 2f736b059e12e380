"""Types as JSON Schema, each with a name below `#/components/schemas/`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

_COMPONENTS = "#/components/schemas/"
_Mode = Literal["validation", "serialization"]
# Component names that are not the class's name. Generated clients carry them: they stay when a
# class is renamed or moves.
COMPONENT_NAMES = {
    "ChatStreamOptions": "openai_request.StreamOptions",
    "ChatTurn": "chat.Turn",
    "CompletionMessage": "openai_shapes.MessageShown",
    "CompletionTurn": "openai_request.Turn",
    "ConversationReference": "responses_shapes.ConversationShown",
    "ConversationSummary": "conversations.ConversationShown",
    "ResponseStreamOptions": "responses_request.StreamOptions",
    "StoredMessage": "own_conversations.MessageShown",
    "TextContent": "Words",
}


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that only repeat the field's name."""

    def field_title_should_be_set(self, _schema: object) -> bool:
        return False


class Schemas:
    """The schemas of some types: models and TypedDicts by reference, others in place."""

    def __init__(self, types: Iterable[Any]) -> None:
        wanted = {_key(each): each for each in types}
        inputs: list[tuple[str, _Mode, TypeAdapter[Any]]] = [
            (key, _mode(each), TypeAdapter(each)) for key, each in wanted.items()
        ]
        found, definitions = TypeAdapter.json_schemas(
            inputs, ref_template=_COMPONENTS + "{model}", schema_generator=_Untitled
        )
        self._found = _renamed({key: schema for (key, _), schema in found.items()})
        self.components = _renamed(definitions.get("$defs", {}))

    def of(self, wanted: Any) -> dict[str, Any]:
        """Return the schema of one of the types."""
        return dict(self._found[_key(wanted)])


def _renamed(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return `schemas` with the component names that clients know, as keys and in references."""
    renamed = {COMPONENT_NAMES.get(key, key): _referring(each) for key, each in schemas.items()}
    for name in COMPONENT_NAMES.values() & renamed.keys():
        renamed[name]["title"] = name.rpartition(".")[2]
    return renamed


def _referring(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_referring(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _reference(each) if key == "$ref" else _referring(each) for key, each in schema.items()
    }


def _reference(path: str) -> str:
    name = path.removeprefix(_COMPONENTS)
    return _COMPONENTS + COMPONENT_NAMES.get(name, name)


def _key(wanted: Any) -> str:
    return f"{getattr(wanted, '__module__', '')}.{wanted!r}"


def _mode(wanted: Any) -> _Mode:
    # A request may leave out what has a default; a response has it.
    is_request = isinstance(wanted, type) and issubclass(wanted, BaseModel)
    return "validation" if is_request else "serialization"
