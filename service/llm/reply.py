"""The reply of OpenAI's chat protocol: chunks of a stream, or one JSON document.

Sans-IO. Decodes only the fields that the service uses; other fields of a server are ignored.
Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from service.domain import ToolCall, Usage
from service.errors import BadStream, UpstreamError
from service.llm.failures import make_stream_error
from service.llm.surrogates import (
    SurrogateJoiner,
    has_surrogate_escapes,
    loads,
    replace_lone_surrogates,
)

MAX_ANSWER_CHARS: Final = 4_194_304


class _CachedTokens(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _ReasoningTokens(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None
    completion_tokens_details: _ReasoningTokens | None = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Content(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    # The reasoning of a model: not part of the answer, but a sign that the model works.
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Content | None = None
    message: _Content | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | int | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def _decode(data: bytes) -> _Chunk:
    """Return a chunk. Raises ValueError."""
    try:
        return _decode_chunk(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError:
        if not has_surrogate_escapes(data):
            raise
        return msgspec.convert(loads(data), _Chunk)


class Added(NamedTuple):
    """Content that one `Reply.take` added. `error` is the failure that stopped it.

    `has_tokens` also counts tokens of reasoning, which is no content.
    """

    text: str
    calls: Sequence[ToolCall]
    has_tokens: bool
    error: UpstreamError | None


@dataclass(slots=True)
class Reply:
    """The answer to one call so far; complete once `done`. `calls` are pieces of tool calls.

    It fills while the answer arrives, so that an interrupted call leaves a partial answer.
    """

    parts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    chars: int = 0
    token_chunks: int = 0  # chunks with a token of the answer or of reasoning
    usage: Usage | None = None
    finish_reason: str = ""
    response_id: str = ""
    response_model: str = ""
    joiner: SurrogateJoiner = field(default_factory=SurrogateJoiner)
    call_joiners: dict[int, SurrogateJoiner] = field(default_factory=dict)  # by index of a call
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def take(self, chunks: Iterable[bytes], model: str) -> Added:
        """Add the data of stream events, or an answer that is not streamed; return the difference.

        Stops at the first error: BadStream for data that is not a chunk or a too long answer,
        another UpstreamError for an error object.
        """
        parts, calls, token_chunks = len(self.parts), len(self.calls), self.token_chunks
        error = None
        try:
            self._take_chunks(chunks, model)
        except UpstreamError as failure:
            error = failure
        return Added(
            text="".join(self.parts[parts:]),
            calls=self.calls[calls:],
            has_tokens=self.token_chunks > token_chunks,
            error=error,
        )

    def _take_chunks(self, chunks: Iterable[bytes], model: str) -> None:
        for data in chunks:
            if data[:1] != b"{":  # the end marker and blank data are not JSON, and no error
                if data.strip() == b"[DONE]":
                    self.done = True
                    return
                if not data.strip():
                    continue
            try:
                chunk = _decode(data)
            except ValueError as error:
                raise BadStream(f"{model} sent data that is not a chat completion.") from error
            if chunk.error:
                raise make_stream_error(chunk.error, model)
            if chunk.usage:
                self.usage = _usage(chunk.usage)
            if chunk.choices:
                self._take_choice(chunk.choices[0], model)
                if not self.response_id:
                    self.response_id, self.response_model = str(chunk.id or ""), chunk.model or ""

    def _take_choice(self, choice: _Choice, model: str) -> None:
        if content := choice.delta or choice.message:
            self._take_content(content, model)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
            self._add_text(self.joiner.end(), model)
            for index, joiner in self.call_joiners.items():
                if rest := joiner.end():
                    self._add_call(ToolCall(index, arguments=rest), model)

    def _take_content(self, content: _Content, model: str) -> None:
        if content.tool_calls:
            self._take_calls(content.tool_calls, model)
        if text := content.content or content.refusal:  # a refusal is an answer too
            self.token_chunks += 1
            self._add_text(self.joiner.join(text), model)
        elif content.reasoning_content or content.reasoning:
            self.token_chunks += 1

    def _add_text(self, text: str, model: str) -> None:
        if text:
            self.parts.append(text)
            self._count_chars(len(text), model)

    def _take_calls(self, calls: Sequence[_ToolCall], model: str) -> None:
        self.token_chunks += 1
        for place, each in enumerate(calls):
            function = each.function or _Function()
            index = place if each.index is None else each.index
            joiner = self.call_joiners.setdefault(index, SurrogateJoiner())
            call = ToolCall(
                index=index,
                id=replace_lone_surrogates(each.id or ""),
                name=replace_lone_surrogates(function.name or ""),
                arguments=joiner.join(function.arguments or ""),
            )
            self._add_call(call, model)

    def _add_call(self, call: ToolCall, model: str) -> None:
        self.calls.append(call)
        self._count_chars(len(call.name) + len(call.arguments), model)

    def _count_chars(self, chars: int, model: str) -> None:
        self.chars += chars
        if self.chars > MAX_ANSWER_CHARS:
            raise BadStream(f"{model} sent an answer of more than {MAX_ANSWER_CHARS} characters.")


def _usage(usage: _Usage) -> Usage:
    cached, reasoning = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=(cached.cached_tokens or 0) if cached else 0,
        reasoning_tokens=(reasoning.reasoning_tokens or 0) if reasoning else 0,
    )
