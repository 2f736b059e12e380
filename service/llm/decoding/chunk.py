"""Chunks of a chat completion: the fields that decide, with values of any type. Sans-IO.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from service.llm.surrogates import replace_lone_surrogates


class Delta(msgspec.Struct, gc=False):
    """A message or a piece of one. Values are as the server sent them, of any type."""

    content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    reasoning_details: Any = None
    thinking: Any = None
    thoughts: Any = None
    thought: Any = None

    def find_refusal(self) -> Any:
        """Return the text of a refusal, which is an answer too; other values mean nothing."""
        return self.refusal if isinstance(self.refusal, str | list) else None

    def find_reasoning(self) -> Any:
        """Return the reasoning under its first name: servers repeat it under others."""
        return (
            self.reasoning_content
            or self.reasoning
            or self.reasoning_text
            or self.thinking
            or self.thoughts
            or self.thought
            or self.reasoning_details
        )


class Choice(msgspec.Struct, gc=False):
    """One of the alternative answers; a request has one."""

    index: Any = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    usage: Any = None
    error: Any = None


class ReplyChunk(msgspec.Struct, gc=False):
    """A chunk of a stream, or a complete answer."""

    id: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None  # Groq's usage without `stream_options` is in it

    @property
    def is_document(self) -> bool:
        """Whether the chunk is a complete answer."""
        return bool(self.choices and self.choices[0].message)

    def read_identity(self) -> tuple[str, str]:
        """Return the id and the model's name, each "" if it is none."""
        names = [str(each) if isinstance(each, str | int) else "" for each in (self.id, self.model)]
        return replace_lone_surrogates(names[0]), replace_lone_surrogates(names[1])

    def get_plain_text(self) -> str:
        """Return the text of a chunk that has nothing but text, as nearly every one; else ""."""
        choices = self.choices
        if not choices or self.usage or self.error:
            return ""
        choice = choices[0]
        delta = choice.delta
        if delta is None or choice.finish_reason or choice.usage or choice.error:
            return ""
        is_more = (
            delta.tool_calls
            or delta.function_call
            or delta.reasoning_content
            or delta.reasoning
            or delta.reasoning_text
            or delta.reasoning_details
            or delta.thinking
            or delta.thoughts
            or delta.thought
        )
        text = delta.content
        return text if type(text) is str and not is_more else ""
