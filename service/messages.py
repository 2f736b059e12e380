"""Messages beyond their text: content parts, tool calls, tool results, refusals and names.

`Message.raw` holds such a message as JSON in the format of OpenAI's chat messages. Only this
module reads and writes that JSON; every other module calls its functions.
Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import msgspec

from service.domain import Message, Role, ToolCall

_PLAIN_ROLES = ("system", "user", "assistant")
_ANSWER_FIELDS = frozenset({"tool_calls", "function_call", "refusal", "audio"})


def parse_chat_message(fields: Mapping[str, Any]) -> Message:
    """Return one of OpenAI's chat messages; `raw` only when it is more than role and text.

    Fields without content, such as `tool_calls: []`, are left out: strict servers refuse them.
    """
    fields = _drop_empty_fields(fields)
    role: Role = "system" if fields["role"] == "developer" else fields["role"]
    content = fields.get("content")
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if part.get("text")]
    text = content if isinstance(content, str) else "\n\n".join(texts)
    is_plain = role in _PLAIN_ROLES and fields.keys() <= {"role", "content"}
    if is_plain and all(part["type"] == "text" for part in parts):
        return Message(role, text)
    return Message(role, text or fields.get("refusal") or "", _encode({**fields, "role": role}))


def encode_chat_message(message: Message) -> Any:
    """Return `message` in OpenAI's format, to be put into the JSON of a request."""
    if not message.raw:
        return {"role": message.role, "content": message.content}
    if "null" in message.raw or "[]" in message.raw:  # also of an earlier version
        return _drop_empty_fields(_decode(message))
    return msgspec.Raw(message.raw.encode())


def _drop_empty_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a message that have a value.

    The content is null only beside other fields of the answer: elsewhere it becomes an empty text.
    """
    kept = {name: each for name, each in fields.items() if each is not None and each != []}
    if "content" in fields and "content" not in kept:
        kept["content"] = None if kept.keys() & _ANSWER_FIELDS else ""
    return kept


def format_tool_call(call: ToolCall) -> dict[str, Any]:
    """Return `call` in the format of OpenAI's chat messages."""
    inner = call.extra.get("function")
    inner = inner if isinstance(inner, dict) else {}
    function = {**inner, "name": call.name, "arguments": call.arguments}
    return {**call.extra, "id": call.id, "type": "function", "function": function}


def format_call_continuation(piece: ToolCall) -> dict[str, Any]:
    """Return a piece of a call after its first one, which has the id and the name."""
    call = format_tool_call(piece)
    del call["id"], call["type"], call["function"]["name"]
    return call


def build_answer(text: str, calls: Sequence[ToolCall] = ()) -> Message:
    """Return an answer as a message of the assistant."""
    if not calls:
        return Message("assistant", text)
    tool_calls = [format_tool_call(each) for each in calls]
    fields = {"role": "assistant", "content": text or None, "tool_calls": tool_calls}
    return Message("assistant", text, _encode(fields))


def make_prefix(text: str, *, is_marked: bool) -> Message:
    """Return the start of an answer that a model is to continue, marked as such where required."""
    fields = {"role": "assistant", "content": text, "prefix": True}
    return Message("assistant", text, _encode(fields) if is_marked else None)


# --- stored questions: columns hold the text and `raw`, and none holds the role ---


def encode_question(question: Message) -> str | None:
    """Return what to store of a question beside its text; None for plain text of a user."""
    if question.raw or question.role == "user":
        return question.raw
    return _encode({"role": question.role, "content": question.content})


def restore_question(text: str, raw: str | None) -> Message:
    """Return the question with this text for which `encode_question` returned `raw`."""
    role: Role = msgspec.json.decode(raw)["role"] if raw else "user"
    return Message(role, text, raw)


# --- content parts ---


def list_content_parts(message: Message) -> list[dict[str, Any]]:
    """Return the parts of a message; none when its content is one text."""
    content = _decode(message).get("content")
    return content if isinstance(content, list) else []


def replace_content_parts(message: Message, parts: Sequence[Mapping[str, Any]]) -> Message:
    """Return `message` with other parts and all its other fields, its text included."""
    return replace(message, raw=_encode({**_decode(message), "content": parts}))


def merge_messages(first: Message, second: Message) -> Message:
    """Return two messages of one role as one: their texts in paragraphs, and all their parts."""
    text = "\n\n".join(filter(None, (first.content, second.content)))
    if first.raw is None and second.raw is None:
        return Message(first.role, text)
    parts = [*_read_parts(first), *_read_parts(second)]
    fields = {**_decode(first), **_decode(second), "role": first.role, "content": parts}
    return Message(first.role, text, _encode(fields))


def _read_parts(message: Message) -> Sequence[Mapping[str, Any]]:
    if parts := list_content_parts(message):
        return parts
    return [{"type": "text", "text": message.content}] if message.content else []


# --- tool calls and their results ---


def has_tool_calls(message: Message) -> bool:
    """Return whether a message of the assistant calls tools."""
    return message.role == "assistant" and bool(_decode(message).get("tool_calls"))


def drop_unmatched_calls(
    messages: Sequence[Message], required: Sequence[Message]
) -> Sequence[Message]:
    """Return `messages` without tool calls that have no result and results that have no call.

    Model servers refuse both. An assistant's message keeps its text when its calls are dropped.
    Raises ValueError when one of `required`, which are some of `messages`, would be dropped.
    Source: https://platform.openai.com/docs/guides/function-calling
    """
    if all(each.raw is None for each in messages):  # nearly always
        return messages
    kept = list(_match_calls(messages))
    kept_ids = {id(each) for each in kept}  # identity: an equal message may occur earlier
    for each in required:
        if id(each) not in kept_ids:
            raise ValueError(_describe_fault(each, messages))
    return kept


def _match_calls(messages: Sequence[Message]) -> Iterator[Message]:
    for at, each in enumerate(messages):
        if each.role == "tool":  # yielded with its call
            continue
        calls = _decode(each).get("tool_calls")
        if not calls:
            yield each
            continue
        results = _find_results_after(messages, at)
        answered = [call for call in calls if call["id"] in results]
        yield from _keep_calls(each, calls, answered)
        yield from (results[call["id"]] for call in answered)


def _find_results_after(messages: Sequence[Message], at: int) -> Mapping[str, Message]:
    """Return the tool results that directly follow message number `at`, by the calls' ids."""
    results = takewhile(lambda each: each.role == "tool", messages[at + 1 :])
    return {_decode(result)["tool_call_id"]: result for result in results}


def _keep_calls(
    message: Message, calls: Sequence[Any], answered: Sequence[Any]
) -> Iterator[Message]:
    if answered == calls:
        yield message
    elif answered:
        yield replace(message, raw=_encode({**_decode(message), "tool_calls": answered}))
    elif message.content:
        yield Message(message.role, message.content)


def _describe_fault(message: Message, messages: Sequence[Message]) -> str:
    if message.role == "tool":
        return "a message of the role tool must answer a call before it, and each call once"
    at = next(at for at, each in enumerate(messages) if each is message)
    results = _find_results_after(messages, at)
    missing = [call["id"] for call in _decode(message)["tool_calls"] if call["id"] not in results]
    return f"the tool call {missing[0][:64]} has no result directly after it"


def _decode(message: Message) -> dict[str, Any]:
    return msgspec.json.decode(message.raw) if message.raw else {}


def _encode(fields: Mapping[str, Any]) -> str:
    return msgspec.json.encode(fields).decode()


def join_tool_calls(pieces: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """Return a call for each index in `pieces`, in the order of their first pieces."""
    by_index: dict[int, list[ToolCall]] = {}
    for piece in pieces:
        by_index.setdefault(piece.index, []).append(piece)
    return tuple(
        ToolCall(
            index=index,
            id=next((each.id for each in calls if each.id), ""),
            name="".join(each.name for each in calls),
            arguments="".join(each.arguments for each in calls),
            extra={name: value for each in calls for name, value in each.extra.items()},
        )
        for index, calls in by_index.items()
    )
