"""What a client of OpenAI's responses sends, and the question that it makes.

A field that this service cannot honour is refused by name, unless it cannot change the answer.
Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Tag, model_validator

from service.api.http.body import AnyText, Body, Identifier, Text, Tokens
from service.api.http.principal import Principal
from service.api.openai.request import ONE_OR_SEVERAL, Fraction, is_blank
from service.api.openai.responses.items import Item, to_messages
from service.api.openai.tools import WORD_OR_OBJECT, Name
from service.conversation import History
from service.domain import Message, RequestOptions, RunRequest
from service.ids import new_id


class FunctionTool(Body):
    """A function of the caller's. OpenAI's own tools are not here."""

    type: Literal["function"]
    name: Name
    description: AnyText | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def in_chat(self) -> dict[str, Any]:
        """Return it as chat completions have it."""
        function = self.model_dump(exclude={"type"}, exclude_none=True)
        return {"type": "function", "function": function}


class FunctionChoice(Body):
    """The function that is to be called."""

    type: Literal["function"]
    name: Name

    def in_chat(self) -> dict[str, Any]:
        return {"type": "function", "function": {"name": self.name}}


class Plain(Body):
    """An answer in words, or some JSON object."""

    type: Literal["text", "json_object"]

    def in_chat(self) -> dict[str, Any]:
        return {"type": self.type}


class Schema(Body):
    """An answer that is JSON of a certain form."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["json_schema"]
    name: Name
    schema_: dict[str, Any] = Field(alias="schema")
    description: AnyText | None = None
    strict: bool | None = None

    def in_chat(self) -> dict[str, Any]:
        named = self.model_dump(exclude={"type"}, exclude_none=True)
        return {"type": self.type, "json_schema": named}


class TextSettings(Body):
    """The form of the answer."""

    format: Annotated[Plain | Schema, Field(discriminator="type")] | None = None
    verbosity: str | None = None


class Reasoning(Body):
    """How much is thought. Thoughts are not shown, nor a summary of them."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class ConversationId(Body):
    """A conversation, by its id."""

    id: Identifier


class ResponseStreamOptions(Body):
    """How it streams."""

    include_obfuscation: bool | None = None


Conversation = Annotated[
    Annotated[Identifier, Tag("[word]")] | Annotated[ConversationId, Tag("[object]")],
    WORD_OR_OBJECT,
]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("[word]")]
    | Annotated[FunctionChoice, Tag("[object]")],
    WORD_OR_OBJECT,
]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[AnyText, Field(max_length=512)],
    ],
    Field(max_length=16),
]


Input = Annotated[
    Annotated[Text, Tag("[one]")] | Annotated[list[Item], Field(min_length=1), Tag("[several]")],
    ONE_OR_SEVERAL,
]


class ResponseRequest(Body):
    """What a client sends. `model` is an ensemble, or `agent/` and the name of an agent."""

    model: Annotated[str, Field(min_length=1, max_length=128)]
    input: Input
    instructions: AnyText | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Conversation | None = None
    max_output_tokens: Tokens | None = None
    # Passed on, where the strategy can honour them.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Fraction | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    # Only what asks for nothing: there are no thoughts to be encrypted.
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    top_logprobs: Literal[0] | None = None
    # Cannot change the answer.
    max_tool_calls: int | None = None  # of OpenAI's own tools
    metadata: Metadata | None = None
    prompt_cache_key: AnyText | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: AnyText | None = None
    safety_identifier: AnyText | None = None
    service_tier: AnyText | None = None
    store: bool | None = None  # every answer is kept, until its conversation is deleted
    stream_options: ResponseStreamOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: AnyText | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> ResponseRequest:
        if self.previous_response_id and self.conversation:
            raise ValueError("previous_response_id and conversation exclude each other")
        if self.stream_options and not self.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        if not self.tools and self.tool_choice not in (None, "none", "auto"):
            raise ValueError("tool_choice calls for a tool, and there are no tools")
        if not self.turns or is_blank(self.turns[-1]):
            raise ValueError("the last message of the input must not be blank")
        return self

    @cached_property
    def turns(self) -> tuple[Message, ...]:
        """The messages of `input`; the last is the question."""
        if isinstance(self.input, str):
            return (Message("user", self.input),)
        return tuple(to_messages(self.input))

    def to_request(
        self, principal: Principal, history: History, messages: Sequence[Message]
    ) -> RunRequest:
        """Return the question of `principal`.

        `history` and `messages` are those that `service.api.openai.responses.previous` finds.
        """
        return RunRequest(
            messages=tuple(messages),
            message_id=new_id("msg"),
            history=history,
            ensemble=self.model,
            max_tokens=self.max_output_tokens,
            owner=principal.owner,
            options=RequestOptions(
                parameters=self._parameters(),
                instructions=self.instructions or "",
                echo=self.model_dump(mode="json", include=_ECHOED, exclude_none=True),
                background=bool(self.background),
            ),
        )

    @property
    def conversation_id(self) -> str | None:
        named = self.conversation
        return named.id if isinstance(named, ConversationId) else named

    def _parameters(self) -> dict[str, Any]:
        """Return what agents are asked for, as chat completions have it."""
        form = self.text.format if self.text else None
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "response_format": form.in_chat() if form and form.type != "text" else None,
            "verbosity": self.text.verbosity if self.text else None,
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
            **(self._of_tools() if self.tools else {}),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _of_tools(self) -> dict[str, Any]:
        choice = self.tool_choice
        return {
            "tools": [tool.in_chat() for tool in self.tools or []],
            "tool_choice": choice.in_chat() if isinstance(choice, FunctionChoice) else choice,
            "parallel_tool_calls": self.parallel_tool_calls,
        }


_ECHOED = {
    "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "temperature",
    "text", "tool_choice", "tools", "top_p", "truncation", "user",
}  # fmt: skip
