"""The OpenAI chat protocol as data: what is sent and what comes back.

Sans-IO. Only the fields the service uses are named; servers may send whatever else they like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from service.domain import Message, ToolCall, Usage
from service.errors import BadStream
from service.llm.failures import make_stream_error
from service.llm.surrogates import (
    SurrogateJoiner,
    has_surrogate_escapes,
    loads,
    replace_lone_surrogates,
)
from service.messages import encode_chat_message

MAX_ANSWER_CHARS: Final = 4_194_304


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question to one model, with its deadlines in seconds.

    `key` is a secret, `key_name` the setting it comes from; `watched` says that somebody reads
    the text while it comes. `extra_body` are further fields of the request, `options` those of the
    caller's that win over all others.
    """

    model: str
    base_url: str
    provider: str
    messages: Sequence[Message]
    max_tokens: int
    key: str | None = field(default=None, repr=False)
    key_name: str = "LLM_KEY"
    temperature: float | None = None
    top_p: float | None = None
    stream: bool = True
    watched: bool = True
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    first_token_timeout_s: float
    idle_timeout_s: float
    timeout_s: float

    def body(self) -> bytes:
        """Return the request's JSON.

        Source: https://platform.openai.com/docs/api-reference/chat/create
        """
        # OpenAI's newer models refuse max_tokens; other servers know nothing else.
        limit = "max_completion_tokens" if self.provider == "openai" else "max_tokens"
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [encode_chat_message(each) for each in self.messages],
            limit: self.max_tokens,
            "stream": self.stream,
        }
        if self.stream:
            fields["stream_options"] = {"include_usage": True}
        if self.temperature is not None:
            fields["temperature"] = self.temperature
        if self.top_p is not None:
            fields["top_p"] = self.top_p
        return msgspec.json.encode({**fields, **self.extra_body, **self.options})


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


class _Text(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    # Where reasoning models think aloud. Not part of the answer, but a sign of life.
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Text | None = None
    message: _Text | None = None
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
    except ValueError:
        if not has_surrogate_escapes(data):
            raise
        return msgspec.convert(loads(data), _Chunk)


@dataclass(slots=True)
class Reply:
    """What has come back of one call so far; whole once `done`. `calls` are pieces of tool calls.

    Filled while the answer arrives, so that a call cut off at any moment leaves what it had.
    """

    parts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    chars: int = 0
    signs_of_life: int = 0  # chunks with any token, be it of the answer or of reasoning
    usage: Usage | None = None
    finish_reason: str = ""
    response_id: str = ""
    response_model: str = ""
    joiner: SurrogateJoiner = field(default_factory=SurrogateJoiner)
    call_joiners: dict[int, SurrogateJoiner] = field(default_factory=dict)  # by a call's index
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def take(self, chunks: Iterable[bytes], who: str) -> None:
        """Add the data of stream events, or a whole, unstreamed answer.

        Raises BadStream for what is not a chunk, UpstreamError for an error object; what came
        before it is kept.
        """
        for data in chunks:
            if data[:1] != b"{":  # the only two things that are no JSON and no fault
                if data.strip() == b"[DONE]":
                    self.done = True
                    return
                if not data.strip():
                    continue
            try:
                chunk = _decode(data)
            except ValueError as error:
                raise BadStream(f"{who} sent something that is not a chat completion.") from error
            if chunk.error:
                raise make_stream_error(chunk.error, who)
            if chunk.usage:
                self.usage = _usage(chunk.usage)
            if chunk.choices:
                self._take_choice(chunk.choices[0], who)
                if not self.response_id:
                    self.response_id, self.response_model = str(chunk.id or ""), chunk.model or ""

    def _take_choice(self, choice: _Choice, who: str) -> None:
        if said := choice.delta or choice.message:
            self._take_text(said, who)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
            self._say(self.joiner.end(), who)
            for index, joiner in self.call_joiners.items():
                if rest := joiner.end():
                    self._add_call(ToolCall(index, arguments=rest), who)

    def _take_text(self, said: _Text, who: str) -> None:
        if said.tool_calls:
            self._take_calls(said.tool_calls, who)
        if text := said.content or said.refusal:  # to refuse is an answer too
            self.signs_of_life += 1
            self._say(self.joiner.join(text), who)
        elif said.reasoning_content or said.reasoning:
            self.signs_of_life += 1

    def _say(self, text: str, who: str) -> None:
        if text:
            self.parts.append(text)
            self._count(len(text), who)

    def _take_calls(self, calls: Sequence[_ToolCall], who: str) -> None:
        self.signs_of_life += 1
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
            self._add_call(call, who)

    def _add_call(self, call: ToolCall, who: str) -> None:
        self.calls.append(call)
        self._count(len(call.name) + len(call.arguments), who)

    def _count(self, chars: int, who: str) -> None:
        self.chars += chars
        if self.chars > MAX_ANSWER_CHARS:
            raise BadStream(f"{who} sent an answer of more than {MAX_ANSWER_CHARS} characters.")


def _usage(usage: _Usage) -> Usage:
    cached, reasoning = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=(cached.cached_tokens or 0) if cached else 0,
        reasoning_tokens=(reasoning.reasoning_tokens or 0) if reasoning else 0,
    )
