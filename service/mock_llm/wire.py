"""The mock's wire format: OpenAI's chunks, completions and errors, and plans to send them.

Independent of the text of answers and of faults.
Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

STREAM_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
)
JSON_TYPE = ("content-type", "application/json")
DONE = b"data: [DONE]\n\n"
_FINGERPRINT = "fp_mock"
_ERROR_KINDS = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "unknown_url"),
    429: ("requests", "rate_limit_exceeded"),
}

encode = msgspec.json.Encoder().encode


class End(Enum):
    """The end of a plan after its steps: complete, reset connection, or no end."""

    CLEAN = "clean"
    RESET = "reset"
    HANG = "hang"


class Step(NamedTuple):
    """Bytes to send `delay_s` after the previous step."""

    delay_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """A complete response. Without a status there is no response: the connection breaks or hangs.

    `wait_s` passes before the status line. Without a content-length the body is chunked.
    """

    status: int | None
    headers: tuple[tuple[str, str], ...] = ()
    steps: Sequence[Step] = ()
    end: End = End.CLEAN
    wait_s: float = 0.0


class MockToolCall(NamedTuple):
    """A tool call, with its arguments in pieces."""

    id: str
    name: str
    pieces: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MockReply:
    """A model's answer before encoding: reasoning in tokens, then tokens or tool calls.

    `delays` are the seconds before each token or piece, at least one.
    """

    id: str
    created: int
    model: str
    tokens: Sequence[str]
    calls: Sequence[MockToolCall]
    delays: Sequence[float]
    finish_reason: str
    prompt_tokens: int
    reasoning: Sequence[str] = ()

    @property
    def pieces(self) -> int:
        """The number of tokens after the reasoning."""
        return len(self.tokens) + sum(len(call.pieces) for call in self.calls)

    @property
    def completion_tokens(self) -> int:
        """The number of all tokens."""
        return len(self.reasoning) + self.pieces


class AnswerStream(NamedTuple):
    """The steps of a streamed answer: `lead` steps, then `pieces` of content, then its end."""

    steps: list[Step]
    lead: int
    pieces: int


def json_plan(status: int, document: Any, *headers: tuple[str, str], wait_s: float = 0.0) -> Plan:
    """Return the plan of a response with a JSON body."""
    body = encode(document)
    length = ("content-length", str(len(body)))
    return Plan(status, (JSON_TYPE, length, *headers), [Step(0.0, body)], wait_s=wait_s)


def error_plan(
    status: int, message: str, *headers: tuple[str, str], param: str | None = None
) -> Plan:
    """Return the plan of a response with OpenAI's error object."""
    return json_plan(status, error_document(status, message, param), *headers)


def error_document(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """Return OpenAI's error object, with the type and code that OpenAI uses for `status`."""
    default = "server_error" if status >= 500 else "invalid_request_error"
    kind, code = _ERROR_KINDS.get(status, (default, None))
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def completion_document(reply: MockReply) -> dict[str, Any]:
    """Return the `chat.completion` of an answer that is not streamed."""
    text = None if reply.calls else "".join(reply.tokens)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [
            _tool_call_document(call, "".join(call.pieces)) for call in reply.calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish_reason,
    }
    return {
        **_common_fields(reply, "chat.completion"),
        "choices": [choice],
        "usage": _usage_document(reply),
    }


def write_openai_stream(reply: MockReply, wants_usage: bool) -> AnswerStream:
    """Return a streamed answer: role, tokens, finish, usage if requested, [DONE].

    The role is sent together with the first token.
    """
    fields = b"data: " + encode(_common_fields(reply, "chat.completion.chunk"))[:-1]
    head = fields + b',"choices":[{"index":0,"delta":'
    tail = (b',"usage":null' if wants_usage else b"") + b"}\n\n"
    open_end = b',"logprobs":null,"finish_reason":null}]' + tail
    content = b"null" if reply.calls else b'""'
    role = head + b'{"role":"assistant","content":' + content + b',"refusal":null}' + open_end
    steps = [Step(reply.delays[0], role)]
    gaps = (0.0, *reply.delays[1:])
    steps += [
        Step(gap, head + delta + open_end)
        for gap, delta in zip(gaps, _encode_deltas(reply), strict=False)
    ]
    reason = encode(reply.finish_reason)
    steps.append(Step(0.0, head + b'{},"logprobs":null,"finish_reason":' + reason + b"}]" + tail))
    if wants_usage:
        usage = b',"choices":[],"usage":' + encode(_usage_document(reply)) + b"}\n\n"
        steps.append(Step(0.0, fields + usage))
    steps.append(Step(0.0, DONE))
    return AnswerStream(steps, 1, reply.pieces)


def _encode_deltas(reply: MockReply) -> Sequence[bytes]:
    """Return the encoded delta of each token or piece; a call's first delta has its name."""
    if not reply.calls:
        return _encode_tokens(tuple(reply.tokens))
    deltas = []
    for index, call in enumerate(reply.calls):
        first, *others = call.pieces
        deltas.append({"index": index, **_tool_call_document(call, first)})
        deltas += [{"index": index, "function": {"arguments": piece}} for piece in others]
    return [encode({"tool_calls": [delta]}) for delta in deltas]


@lru_cache(maxsize=1024)
def _encode_tokens(tokens: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(b'{"content":' + encode(token) + b"}" for token in tokens)


def _tool_call_document(call: MockToolCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _common_fields(reply: MockReply, kind: str) -> dict[str, Any]:
    return {
        "id": reply.id,
        "object": kind,
        "created": reply.created,
        "model": reply.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def _usage_document(reply: MockReply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.pieces,
        "total_tokens": reply.prompt_tokens + reply.pieces,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
