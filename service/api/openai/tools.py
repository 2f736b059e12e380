"""Tools and response formats of OpenAI's chat completions.

Only fields that are certain are checked; all others are passed on to the models unchanged.
Source: https://platform.openai.com/docs/guides/function-calling and …/structured-outputs
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, StringConstraints, Tag, model_validator

from service.api.http.body import AnyText, Body
from service.api.openai.tolerance import TolerantBody

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class Open(Body):
    """A part of a request that may have unknown fields."""

    model_config = ConfigDict(extra="allow")


class Function(Open):
    """The name of a tool, and the schema of its arguments."""

    name: Name
    parameters: dict[str, Any] | None = None


class Tool(TolerantBody):
    """A tool that a model may call."""

    type: Literal["function"]
    function: Function


class Called(Open):
    """A called function; `arguments` is JSON."""

    name: Name
    arguments: AnyText


class ToolCalled(Open):
    """A tool call of a model. Some servers return one without a type."""

    id: AnyText
    type: Literal["function"] = "function"
    function: Called


class ToolName(TolerantBody):
    """The name of a function."""

    name: Name


class ToolWanted(TolerantBody):
    """The tool that the model must call."""

    type: Literal["function"]
    function: ToolName


def _detect_form(value: object) -> str:
    return "[word]" if isinstance(value, str) else "[object]"


# The JSON type selects the alternative, so that only its own faults are reported.
WORD_OR_OBJECT = Discriminator(_detect_form)
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("[word]")]
    | Annotated[ToolWanted, Tag("[object]")],
    WORD_OR_OBJECT,
]


class JsonSchema(Open):
    """A JSON schema and its name."""

    name: Name


class ResponseFormat(TolerantBody):
    """The format of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> ResponseFormat:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise ValueError("the type json_schema, and no other, has a json_schema")
        return self
