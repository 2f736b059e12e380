"""The parts of an exported run: its request, its calls of models, its ensemble without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.access.principal import Principal
from service.api.runs.report_json import usage_json
from service.domain import Message, ToolCall
from service.errors import RequestError
from service.messages import encode_chat_message
from service.runs.history.conversation import apply_history
from service.runs.projections.recording import (
    CallFailure,
    RecordedPiece,
    StoredCall,
    list_pieces,
)
from service.runs.retry import make_retry
from service.store.records import StoredRun
from service.store.runs import RunStore
from service.strategies.calls.recorder import RECALLED, TEXT
from telemetry import redact

_MOST_EXCHANGES = 100  # of the conversation before the question
# Addresses and the names of keys say nothing about the answers, and are not for others.
_HIDDEN = frozenset({"base_url", "key_env", "key_header", "hedge_target"})
_SECRET = re.compile(
    r"(^|[_-])(api[_-]?key|key|secret|password|authorization|token|credentials?)$", re.I
)
_REMOVED = "[removed]"


async def describe_request(store: RunStore, run: StoredRun) -> dict[str, Any]:
    """Return the question of a run with its options, and the conversation before it.

    The models received the last MAX_EXCHANGES exchanges of `messages`. Raises StorageUnavailable.
    """
    return {
        "question": run.question,
        "messages": [_describe_message(each) for each in await _read_messages(store, run)],
        "ensemble": run.ensemble,
        "parameters": dict(run.options.parameters),
        "instructions": run.options.instructions,
        "reasoning": run.options.reasoning,
        "stream_agents": run.stream_agents,
        "max_tokens": run.max_tokens,
        "timeout_s": run.timeout_s,
    }


async def _read_messages(store: RunStore, run: StoredRun) -> Sequence[Message]:
    request = make_retry(run, Principal(owner=run.owner)).request
    try:
        return (await apply_history(request, store, _MOST_EXCHANGES, run.id)).request.messages
    except RequestError:  # a turn with a tool call that the question needs was deleted
        return request.messages


def _describe_message(message: Message) -> Any:
    return msgspec.to_builtins(
        msgspec.json.decode(msgspec.json.encode(encode_chat_message(message)))
    )


def hide_secrets(value: Any, name: str = "") -> Any:
    """Return JSON without addresses, names of keys, and values that look like secrets."""
    if isinstance(value, Mapping):
        return {
            key: hide_secrets(each, str(key)) for key, each in value.items() if key not in _HIDDEN
        }
    if isinstance(value, list):
        return [hide_secrets(each, name) for each in value]
    if isinstance(value, str):
        return _REMOVED if value and _SECRET.search(name) else redact(value)
    return value


def describe_call(call: StoredCall) -> dict[str, Any]:
    """Return a call of a model as JSON: the pieces of its response, and its end."""
    fields: dict[str, Any] = {
        "agent": call.agent,
        "model": call.model,
        "at_ms": call.at,
        "took_ms": call.took,
        "stream": call.is_stream,
        "outcome": "failed" if call.failure else "answered" if call.finish else "cancelled",
        "pieces": [_describe_piece(each) for each in list_pieces(call)],
    }
    if call.is_hedge:
        fields["hedge"] = True
    if call.finish:
        fields["finish_reason"] = call.finish
    if call.usage:
        fields["usage"] = usage_json(call.usage)
    if call.failure:
        fields["failure"] = _describe_failure(call.failure)
    return fields


def _describe_piece(piece: RecordedPiece) -> dict[str, Any]:
    content = piece.content
    if isinstance(content, ToolCall):
        return {"after_ms": piece.after_ms, "tool_call": msgspec.to_builtins(content)}
    if piece.kind == RECALLED:
        return {"after_ms": piece.after_ms, "recalled": content}
    return {"after_ms": piece.after_ms, "text" if piece.kind == TEXT else "reasoning": content}


def _describe_failure(failure: CallFailure) -> dict[str, Any]:
    """Return a failure; its status is that of the response, if it had one."""
    fields: dict[str, Any] = {"code": failure.code, "message": failure.message}
    if failure.has_status:
        fields["status"] = failure.status
    if failure.sentence:
        fields["reason"] = failure.sentence
    if failure.codes:
        fields["codes"] = failure.codes
    if failure.fields:
        fields["fields"] = failure.fields
    if failure.retry_after_s is not None:
        fields["retry_after_s"] = failure.retry_after_s
    return fields
