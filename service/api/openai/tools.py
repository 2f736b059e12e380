"""Tools and answer formats as OpenAI's chat completions have them, checked as far as is certain.

What they may hold besides goes to the models as it is.
Source: https://platform.openai.com/docs/guides/function-calling and …/structured-outputs
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, StringConstraints, Tag, model_validator

from service.api.http.body import AnyText, Body

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class Open(Body):
    """A part of a request that may have fields which are not known here."""

    model_config = ConfigDict(extra="allow")


class Function(Open):
    """What a tool is called, and the schema of its arguments."""

    name: Name
    parameters: dict[str, Any] | None = None


class Tool(Body):
    """A tool that a model may call."""

    type: Literal["function"]
    function: Function


class Called(Open):
    """A function that was called; `arguments` is JSON."""

    name: Name
    arguments: AnyText


class ToolCalled(Open):
    """A tool that a model has called."""

    id: AnyText
    type: Literal["function"]
    function: Called


class ToolName(Body):
    """A function, by its name."""

    name: Name


class ToolWanted(Body):
    """The tool that is to be called."""

    type: Literal["function"]
    function: ToolName


def _form(value: object) -> str:
    return "[word]" if isinstance(value, str) else "[object]"


# Which of the two a value is meant to be is told by its form, so that only that one's faults are.
WORD_OR_OBJECT = Discriminator(_form)
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("[word]")]
    | Annotated[ToolWanted, Tag("[object]")],
    WORD_OR_OBJECT,
]


class JsonSchema(Open):
    """A schema, and what it is called."""

    name: Name


class ResponseFormat(Body):
    """What an answer is to look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise ValueError("the type json_schema, and no other, has a json_schema")
        return self
