"""Answers in a dialect that are not streamed."""

from __future__ import annotations

from typing import Any

from service.mock_llm.dialects.dialect import Dialect
from service.mock_llm.dialects.stream import write_call, write_common_fields
from service.mock_llm.dialects.usage import write_usage
from service.mock_llm.wire import MockReply


def write_document(dialect: Dialect, reply: MockReply) -> dict[str, Any]:
    """Return the `chat.completion` of an answer."""
    reason = reply.finish_reason
    choice = {
        "index": 0,
        "message": _write_message(dialect, reply),
        **dialect.choice_fields,
        **dialect.end_choice_fields,
        "finish_reason": dialect.reasons.get(reason, reason),
    }
    if dialect.native_reasons is not None:
        choice["native_finish_reason"] = dialect.native_reasons.get(reason, reason)
    fields = {name: value for name, value in dialect.chunk_fields.items() if name != "obfuscation"}
    return {
        **write_common_fields(reply, "chat.completion"),
        **fields,
        **dialect.first_chunk_fields,
        "choices": [choice],
        "usage": write_usage(dialect, reply),
    }


def _write_message(dialect: Dialect, reply: MockReply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", **dialect.message_fields}
    text: Any = None if reply.calls else "".join(reply.tokens)
    if dialect.reasoning and reply.reasoning:
        reasoning = dialect.reasoning.write("".join(reply.reasoning))
        parts = reasoning.get("content")
        message |= reasoning
        if isinstance(parts, list):
            text = [*parts, {"type": "text", "text": text or ""}]
    message["content"] = text
    if reply.calls:
        message["tool_calls"] = [
            write_call(dialect, call, "".join(call.pieces), number)
            for number, call in enumerate(reply.calls)
        ]
    return message
