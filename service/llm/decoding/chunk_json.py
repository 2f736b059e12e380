"""JSON of a chat completion, streamed or not, as chunks. Sans-IO.

The fields that decide are the choices with their content, tool calls, reason and error. Every
other field may have any value: it cannot fail the answer. Nearly every chunk is decoded directly
into the structures. JSON that does not fit them is searched for the same fields.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from service.errors import BadStream
from service.llm.decoding.chunk import Choice, Delta, ReplyChunk
from service.llm.decoding.reasoning import is_reasoning_name

# For at most LARGE_BYTES. Raises ValueError, RecursionError when JSON does not fit the structure.
decode_chunk = msgspec.json.Decoder(ReplyChunk).decode


def decode_large_chunk(data: bytes) -> ReplyChunk:
    """Return the chunk in JSON of any size. Raises ValueError, RecursionError."""
    return _decode_many_values(data) if _has_many_values(data) else decode_chunk(data)


def decode_other(data: bytes, model: str) -> Sequence[ReplyChunk]:
    """Return the chunks in any other data of `model`; none in words, such as `ping`.

    Raises BadStream for damaged JSON.
    """
    try:
        return _decode_other(data)
    except ValueError as error:
        raise BadStream(f"{model} sent data that is not a chat completion.") from error


def _decode_other(data: bytes) -> Sequence[ReplyChunk]:
    if data.lstrip()[:1] not in (b"{", b"["):
        return ()
    if len(data) > LARGE_BYTES and (_has_many_values(data) or _has_many_surrogates(data)):
        raise ValueError("too many values")
    return find_chunks(decode_any(data))


def is_end_marker(data: bytes) -> bool:
    """Return whether `data` is `[DONE]`, the end of a stream."""
    return data.strip().strip(b'"').upper() == b"[DONE]"


# --- data with very many values, which would block the event loop for seconds as Python objects ---

LARGE_BYTES: Final = 262_144
_MAX_VALUES: Final = 100_000  # 30 ms as Python objects
_MAX_SURROGATES: Final = 100_000  # 30 ms to find their pairs


class _ExactDelta(Delta, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: None = None
    function_call: None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_text: None = None
    reasoning_details: None = None
    thinking: None = None
    thoughts: None = None
    thought: None = None


class _ExactChoice(Choice, gc=False):
    index: int | None = None
    delta: _ExactDelta | None = None
    message: _ExactDelta | None = None
    finish_reason: str | None = None
    usage: None = None
    error: None = None


class _ExactUsage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _ExactChoices(msgspec.Struct, array_like=True, gc=False):
    """An array of which only the first element is decoded."""

    first: _ExactChoice


class _ExactChunk(msgspec.Struct, gc=False):
    choices: _ExactChoices
    usage: _ExactUsage | None = None


_decode_exact_chunk = msgspec.json.Decoder(_ExactChunk).decode


def _has_many_values(data: bytes) -> bool:
    """Return whether `data`, which is large, may have more values than can be decoded at once."""
    return sum(map(data.count, (b",", b"[", b"{"))) > _MAX_VALUES


def _has_many_surrogates(data: bytes) -> bool:
    return data.count(b"\\ud") + data.count(b"\\uD") > _MAX_SURROGATES


def _decode_many_values(data: bytes) -> ReplyChunk:
    """Return a chunk in exactly OpenAI's format. Raises ValueError, RecursionError.

    Everything else is skipped without becoming a Python object.
    """
    chunk = _decode_exact_chunk(data)
    usage = msgspec.to_builtins(chunk.usage) if chunk.usage else None
    return ReplyChunk(choices=[chunk.choices.first], usage=usage)


# --- any other JSON ---


def decode_any(data: bytes) -> Any:
    """Return any JSON, also with what strict decoders refuse. Raises ValueError.

    That is: lone surrogates, bytes that are not UTF-8, control characters and NaN.
    """
    try:
        return json.loads(data.decode("utf-8-sig", "replace"), strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def find_chunks(value: Any) -> Sequence[ReplyChunk]:
    """Return the chunks in any JSON; none when it has nothing that decides."""
    if isinstance(value, list):
        return [chunk for each in value if isinstance(each, dict) for chunk in find_chunks(each)]
    if not isinstance(value, dict):
        return ()
    choices = value.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    objects = choices if isinstance(choices, list) else ()
    found = [_build_choice(each) for each in objects if isinstance(each, dict)]
    error = value.get("error") or (None if found else _find_error(value))
    fields = (value.get("id"), value.get("model"), found, value.get("usage"), error)
    return [ReplyChunk(*fields, value.get("x_groq"))]


def _build_choice(fields: dict[str, Any]) -> Choice:
    return Choice(
        index=fields.get("index"),
        delta=_build_delta(fields.get("delta")),
        message=_build_delta(fields.get("message")),
        finish_reason=fields.get("finish_reason"),
        usage=fields.get("usage"),
        error=fields.get("error"),
    )


def _build_delta(value: Any) -> Delta | None:
    if isinstance(value, str | list):
        return Delta(content=value)
    if not isinstance(value, dict):
        return None
    delta = Delta(**{name: value[name] for name in Delta.__struct_fields__ if name in value})
    if not delta.find_reasoning():
        names = (name for name in value if value[name] and is_reasoning_name(name))
        delta.reasoning_text = next((value[name] for name in names), None)
    return delta


# Signs of an error in an object without choices, beside OpenAI's field `error`.
_ERROR_FIELDS = ("errors", "error_message", "error_msg")


def _find_error(fields: dict[str, Any]) -> Any:
    """Return the error that an object without choices reports in another form than OpenAI's."""
    kinds = f"{fields.get('object')} {fields.get('type')} {fields.get('status')}".casefold()
    if "error" in kinds:
        return fields
    if found := next((fields[name] for name in _ERROR_FIELDS if fields.get(name)), None):
        return found
    status = fields.get("base_resp")  # MiniMax
    if isinstance(status, dict) and status.get("status_code"):
        return {"message": status.get("status_msg"), "code": status.get("status_code")}
    has_code = fields.get("code") not in (None, 0, 200, "", "0", "200", "ok", "success")
    return fields if has_code and isinstance(fields.get("message"), str) else None
