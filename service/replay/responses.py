"""Recorded calls as responses of a model server: chunks with their times, failures at their place.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.mock_llm.wire import (
    DONE,
    JSON_TYPE,
    STREAM_HEADERS,
    End,
    Plan,
    Step,
    encode,
    json_plan,
)
from service.replay.document import CallRecord, FailureRecord, PieceRecord, ReplayedToolCall

_SLUG = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HEADER = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The form of the response that a request wants. Times are divided by `speed`; 0: no waits.

    `late_ms` is added to the first wait: a recorded hedge answers for the call that it overtook.
    """

    is_stream: bool
    wants_usage: bool
    speed: float
    late_ms: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()

    def scale(self, milliseconds: float) -> float:
        """Return the seconds of a wait."""
        return milliseconds / 1000 / self.speed if self.speed else 0.0


def plan_response(call: CallRecord, wish: Wish, number: int) -> Plan:
    """Return the response that repeats `call`."""
    failure = call.failure
    took_s = wish.scale(call.took_ms + wish.late_ms)
    if failure and failure.status is not None:
        return _plan_status(failure, wish, took_s)
    if failure and failure.code == "upstream_unreachable":
        return Plan(None, end=End.RESET)
    writer = _RecordedResponse(call, f"chatcmpl-replay-{number}", wish)
    if wish.is_stream:
        steps, end = writer.write_stream()
        return Plan(200, (*STREAM_HEADERS, *wish.headers), steps, end)
    if failure or call.outcome == "cancelled":
        steps, end = writer.write_broken_document()
        return Plan(200, (JSON_TYPE, *wish.headers), steps, end, took_s)
    return json_plan(200, writer.write_document(), *wish.headers, wait_s=took_s)


def _plan_status(failure: FailureRecord, wish: Wish, took_s: float) -> Plan:
    headers = wish.headers
    if failure.retry_after_s is not None:
        headers = (*headers, ("retry-after", f"{failure.retry_after_s:g}"))
    document = {"error": describe_error(failure)}
    return json_plan(failure.status or 500, document, *headers, wait_s=took_s)


def describe_error(failure: FailureRecord) -> Mapping[str, Any]:
    """Return OpenAI's error object with what the recorded server stated."""
    codes = [code for code in failure.codes if _SLUG.fullmatch(code)]
    return {
        "message": failure.reason,
        "type": codes[1] if len(codes) > 1 else codes[0] if codes else None,
        "param": failure.fields[0] if failure.fields else None,
        "code": codes[0] if len(codes) > 1 else None,
    }


class _RecordedResponse:
    """Writes the response to one call."""

    def __init__(self, call: CallRecord, response_id: str, wish: Wish) -> None:
        self._call = call
        self._wish = wish
        self._id = response_id

    def write_stream(self) -> tuple[list[Step], End]:
        """Return the chunks of a stream with their times, and its end."""
        call, wish = self._call, self._wish
        steps = [
            Step(wish.scale(each.after_ms), self._write_chunk(delta, None))
            for each in call.pieces
            if (delta := _make_delta(each)) is not None
        ]
        if steps:
            steps[0] = Step(steps[0].delay_s + wish.scale(wish.late_ms), self._open(steps[0].data))
        rest_s = max(0.0, wish.scale(call.took_ms + wish.late_ms) - sum(s.delay_s for s in steps))
        ending, end = self._write_end()
        return [*steps, *(Step(0.0 if at else rest_s, data) for at, data in enumerate(ending))], end

    def _open(self, first: bytes) -> bytes:
        return self._write_chunk({"role": "assistant", "content": ""}, None) + first

    def _write_end(self) -> tuple[list[bytes], End]:
        call, failure = self._call, self._call.failure
        if failure is None and call.outcome == "cancelled":
            return [], End.HANG
        if failure is None:
            return self._finish(call.finish_reason or "stop"), End.CLEAN
        match failure.code:
            case "upstream_timeout":
                return [], End.HANG
            case "upstream_incomplete":
                return [b": \n\n"], _find_break(failure)  # a comment, at the time of the break
            case "upstream_bad_stream":
                return [b"data: {oops\n\n"], End.CLEAN
            case "upstream_empty" | "tokens_used_up" | "content_filtered":
                reasons = {"tokens_used_up": "length", "content_filtered": "content_filter"}
                return self._finish(reasons.get(failure.code, "stop")), End.CLEAN
            case _:
                return [b"data: " + encode({"error": describe_error(failure)}) + b"\n\n"], End.CLEAN

    def _finish(self, reason: str) -> list[bytes]:
        chunks = [self._write_chunk({}, reason)]
        if self._wish.wants_usage and self._call.usage:
            fields = {**self._fields("chat.completion.chunk"), "choices": []}
            chunks.append(b"data: " + encode({**fields, "usage": self._usage()}) + b"\n\n")
        return [*chunks, DONE]

    def write_document(self) -> Mapping[str, Any]:
        """Return the response as one JSON document."""
        texts = [each.text or "" for each in self._call.pieces]
        thoughts = [each.reasoning or "" for each in self._call.pieces]
        calls = list(_join_calls(self._call))
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
        if any(thoughts):
            message["reasoning_content"] = "".join(thoughts)
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": self._call.finish_reason}
        usage = {"usage": self._usage()} if self._call.usage else {}
        return {**self._fields("chat.completion"), "choices": [choice], **usage}

    def write_broken_document(self) -> tuple[list[Step], End]:
        """Return the first half of the document, or what the server sent in its place."""
        failure = self._call.failure
        if failure and failure.code not in ("upstream_timeout", "upstream_incomplete"):
            return [Step(0.0, encode({"error": describe_error(failure)}))], End.CLEAN
        body = encode(self.write_document())
        is_broken = failure is not None and failure.code == "upstream_incomplete"
        end = _find_break(failure) if failure and is_broken else End.HANG
        return [Step(0.0, body[: len(body) // 2])], end

    def _write_chunk(self, delta: Mapping[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        document = {**self._fields("chat.completion.chunk"), "choices": [choice]}
        return b"data: " + encode(document) + b"\n\n"

    def _fields(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": 0, "model": self._call.model}

    def _usage(self) -> Mapping[str, Any]:
        usage = self._call.usage or {}
        return {
            "prompt_tokens": usage.get("input_tokens", 0),
            "completion_tokens": usage.get("output_tokens", 0),
            "total_tokens": usage.get("total_tokens", 0),
            "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
            "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
        }


def _find_break(failure: FailureRecord) -> End:
    """Return whether the response had been reset or had ended early, as the message states it."""
    return End.RESET if "connection" in failure.message else End.CLEAN


def _make_delta(piece: PieceRecord) -> Mapping[str, Any] | None:
    if piece.text:
        return {"content": piece.text}
    if piece.reasoning:
        return {"reasoning_content": piece.reasoning}
    if piece.recalled is not None:
        return {"content": "</think>"}  # the text before it was reasoning
    if piece.tool_call:
        return {"tool_calls": [_make_tool_call(piece.tool_call)]}
    return None


def _make_tool_call(piece: ReplayedToolCall) -> Mapping[str, Any]:
    extra = dict(piece.extra or {})
    more = extra.pop("function", None)
    name = {"name": piece.name} if piece.name else {}
    function = {**name, "arguments": piece.arguments or ""}
    function |= more if isinstance(more, dict) else {}
    opening = {"id": piece.id, "type": "function"} if piece.id else {}
    return {**extra, "index": piece.index, **opening, "function": function}


def _join_calls(call: CallRecord) -> Iterator[Mapping[str, Any]]:
    """Yield the tool calls of a response, each with all of its arguments."""
    joined: dict[int, dict[str, str]] = {}
    for piece in call.pieces:
        if part := piece.tool_call:
            found = joined.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
            found["id"] += part.id or ""
            found["name"] += part.name or ""
            found["arguments"] += part.arguments or ""
    for each in joined.values():
        function = {"name": each["name"], "arguments": each["arguments"]}
        yield {"id": each["id"], "type": "function", "function": function}
