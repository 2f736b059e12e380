"""Types as JSON Schema, each with a name below `#/components/schemas/`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

_TEMPLATE = "#/components/schemas/{model}"
_Mode = Literal["validation", "serialization"]
# Generated clients carry these names: they stay when a module moves.
_NAMESAKES = {
    "service__api__chat__chat__Turn": "chat.Turn",
    "service__api__history__conversations__ConversationShown": "conversations.ConversationShown",
    "service__api__history__owned__MessageShown": "own_conversations.MessageShown",
    "service__api__openai__request__StreamOptions": "openai_request.StreamOptions",
    "service__api__openai__request__Turn": "openai_request.Turn",
    "service__api__openai__responses__request__StreamOptions": "responses_request.StreamOptions",
    "service__api__openai__responses__schemas__ConversationShown": (
        "responses_shapes.ConversationShown"
    ),
    "service__api__openai__schemas__MessageShown": "openai_shapes.MessageShown",
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
            inputs, ref_template=_TEMPLATE, schema_generator=_Untitled
        )
        self._found = _shortened({key: schema for (key, _), schema in found.items()})
        self.components = _shortened(definitions.get("$defs", {}))

    def of(self, wanted: Any) -> dict[str, Any]:
        """Return the schema of one of the types."""
        return dict(self._found[_key(wanted)])


def _shortened(schemas: dict[str, Any]) -> dict[str, Any]:
    """Give types that have a namesake in another module the names that clients know."""
    text = re.sub(r"service(?:__\w+?)+__[A-Z]\w*", _public_name, json.dumps(schemas))
    shortened: dict[str, Any] = json.loads(text)
    return shortened


def _public_name(qualified: re.Match[str]) -> str:
    return _NAMESAKES[qualified[0]]


def _key(wanted: Any) -> str:
    return f"{getattr(wanted, '__module__', '')}.{wanted!r}"


def _mode(wanted: Any) -> _Mode:
    # A request may leave out what has a default; a response has it.
    is_request = isinstance(wanted, type) and issubclass(wanted, BaseModel)
    return "validation" if is_request else "serialization"
