"""What a request asks of the mock: OpenAI's request body, and options in the model's name.

`name?tokens=200&gap_ms=5&fault=reset` makes model `name` behave as told, from any client. Knows
nothing of how it is done; `mock_plan` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from service.llm.mock_text import Prompt, count_tokens

Fault = Literal[
    "status",  # answer with `status`, and `retry_after`
    "refuse",  # the connection is refused
    "hang",  # the request is accepted, headers never come
    "reset",  # the connection is reset after `after` tokens
    "stall",  # silence for ever after `after` tokens
    "cut",  # a clean end of file after `after` tokens, without finish_reason or [DONE]
    "drip",  # one byte of the stream every `drip_ms`
    "garbage",  # after `after` tokens an event that is not JSON, then on as if nothing were
    "error_object",  # an error event after `after` tokens, then the end
    "binary",  # 200 with bytes that are not an event stream
    "split_utf8",  # characters cut in two by network blocks, U+2028 in the text
    "crlf",  # CRLF line ends, comments between events
    "no_done",  # no [DONE]
    "double_done",  # two of them
    "no_usage",  # usage asked for and not given
    "empty",  # a complete answer without text
]

_PositiveInt = Annotated[int, Meta(ge=1)]
_Milliseconds = Annotated[float, Meta(ge=0, le=86_400_000)]


class BadRequestError(Exception):
    """A request that OpenAI would answer with 400; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """The options in a model's name. A pace given here is exact, otherwise it is drawn."""

    tokens: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    first_ms: _Milliseconds | None = None
    gap_ms: _Milliseconds | None = None
    seed: int | None = None
    fault: Fault | None = None
    status: Annotated[int, Meta(ge=400, le=599)] = 500
    retry_after: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    after: Annotated[int, Meta(ge=0)] = 3
    drip_ms: _Milliseconds = 1000.0
    times: _PositiveInt | None = None
    rate: Annotated[float, Meta(ge=0, le=1)] = 1.0


class TextPart(Struct, tag="text", tag_field="type"):
    """A part of a message; the mock reads text only."""

    text: str


class ChatMessage(Struct):
    """One message as OpenAI has it."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """The whole text, parts joined."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(Struct):
    """Only what the mock honours; other fields are let through, as everywhere here."""

    include_usage: bool = False


class ChatRequest(Struct):
    """A body of `POST /chat/completions`."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _PositiveInt | None = None
    max_completion_tokens: _PositiveInt | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    seed: int | None = None

    @property
    def question(self) -> str:
        """The last message of the user."""
        return self._users()[-1] if self._users() else ""

    @property
    def prompt_tokens(self) -> int:
        """The words of all messages."""
        return sum(count_tokens(message.text) for message in self.messages)

    @property
    def token_limit(self) -> int | None:
        """The limit asked for, under its new or its old name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def prompt(self, seed: int) -> Prompt:
        """Return what the answer's text depends on."""
        system = "\n".join(m.text for m in self.messages if m.role in ("system", "developer"))
        users = self._users()
        earlier = users[-2] if len(users) > 1 else ""
        return Prompt(system, self.question, earlier, base_name(self.model), seed)

    def _users(self) -> Sequence[str]:
        return [message.text for message in self.messages if message.role == "user"]


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_request(body: bytes) -> ChatRequest:
    """Return the request in `body`; raises BadRequestError as OpenAI would answer 400."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        sentence, _, path = str(error).partition(" - at `$")
        raise BadRequestError(f"{sentence}.", path.strip(".`") or None) from error
    if request.stream_options is not None and not request.stream:
        raise BadRequestError(
            "'stream_options' is only allowed with 'stream': true.", "stream_options"
        )
    return request


def base_name(model: str) -> str:
    """Return `model` without its options."""
    return model.partition("?")[0]


@lru_cache(maxsize=1024)
def parse_script(model: str) -> Script:
    """Return the options in a model's name; raises BadRequestError naming what is wrong."""
    _, _, query = model.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        return msgspec.convert(dict(pairs), Script, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise BadRequestError(
            f"The options in the model's name are wrong: {error}.", "model"
        ) from error
