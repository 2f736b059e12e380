"""The OpenAI chat protocol as data: what is sent and what comes back.

Sans-IO. Only the fields the service uses are named; servers may send whatever else they like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from service.domain import Message, Usage
from service.errors import BadStream
from service.llm.failures import error_object

MAX_ANSWER_CHARS: Final = 4_194_304


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question to one model, with its deadlines in seconds.

    `key` is a secret, `key_name` the setting it comes from; `watched` says that somebody reads
    the text while it comes.
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
            "messages": [{"role": each.role, "content": each.content} for each in self.messages],
            limit: self.max_tokens,
            "stream": self.stream,
        }
        if self.stream:
            fields["stream_options"] = {"include_usage": True}
        if self.temperature is not None:
            fields["temperature"] = self.temperature
        if self.top_p is not None:
            fields["top_p"] = self.top_p
        return msgspec.json.encode({**fields, **self.extra_body})


class _CachedTokens(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _ReasoningTokens(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None
    completion_tokens_details: _ReasoningTokens | None = None


class _Text(msgspec.Struct, gc=False):
    content: str | None = None
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


@dataclass(slots=True)
class Reply:
    """What has come back of one call so far; whole once `done`.

    Filled while the answer arrives, so that a call cut off at any moment leaves what it had.
    """

    parts: list[str] = field(default_factory=list)
    chars: int = 0
    signs_of_life: int = 0  # chunks with any token, be it of the answer or of reasoning
    usage: Usage | None = None
    finish_reason: str = ""
    response_id: str = ""
    response_model: str = ""
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
                chunk = _decode_chunk(data)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BadStream(f"{who} sent something that is not a chat completion.") from error
            if chunk.error:
                raise error_object(chunk.error, who)
            if chunk.usage:
                self.usage = _usage(chunk.usage)
            if chunk.choices:
                self._take_choice(chunk.choices[0], who)
                if not self.response_id:
                    self.response_id, self.response_model = str(chunk.id or ""), chunk.model or ""

    def _take_choice(self, choice: _Choice, who: str) -> None:
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        said = choice.delta or choice.message
        if said is None:
            return
        if text := said.content:
            self.parts.append(text)
            self.signs_of_life += 1
            self.chars += len(text)
            if self.chars > MAX_ANSWER_CHARS:
                raise BadStream(f"{who} sent an answer of more than {MAX_ANSWER_CHARS} characters.")
        elif said.reasoning_content or said.reasoning:
            self.signs_of_life += 1


def _usage(usage: _Usage) -> Usage:
    cached, reasoning = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=(cached.cached_tokens or 0) if cached else 0,
        reasoning_tokens=(reasoning.reasoning_tokens or 0) if reasoning else 0,
    )
