"""Streamed answers in a dialect: the chunks of an answer, and an error among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from service.mock_llm.dialects.dialect import Dialect, ErrorEvent, Fields, RolePlace, UsagePlace
from service.mock_llm.dialects.usage import write_usage
from service.mock_llm.wire import DONE, AnswerStream, MockReply, MockToolCall, Step, encode

_Chunk = dict[str, Any]


def write_stream(
    dialect: Dialect, reply: MockReply, *, wants_usage: bool, has_usage: bool = True
) -> AnswerStream:
    """Return the stream of an answer. Without `has_usage` there is none in any place."""
    writer = _ChunkWriter(dialect, reply, wants_usage)
    steps = list(_wait_with_comments(dialect.comments, reply.delays[0]))
    wait_s = 0.0 if steps else reply.delays[0]
    lead = [*map(dict, dialect.before), *writer.write_first()]
    gaps = iter((0.0, *reply.delays[1:]))
    timed = [(0.0, chunk) for chunk in lead]
    timed += [(sum(islice(gaps, n)), chunk) for n, chunk in writer.write_reasoning()]
    lead_steps = len(steps) + len(timed)
    timed += [(sum(islice(gaps, n)), chunk) for n, chunk in writer.write_content()]
    pieces = len(timed) + len(steps) - lead_steps
    if writer.ends_with_content and pieces:
        end = timed[-1][1]
        pieces -= 1
    else:
        timed += [(0.0, dict(chunk)) for chunk in dialect.after]
        end = writer.write_end()
        timed.append((0.0, end))
    writer.complete(end)
    timed += [(0.0, chunk) for chunk in writer.write_usage(end, has_usage)]
    first, *others = [Step(gap, _encode_event(chunk)) for gap, chunk in timed]
    steps += [Step(first.delay_s + wait_s, first.data), *others, Step(0.0, DONE)]
    return AnswerStream(steps, lead_steps, pieces)


def write_error_event(dialect: Dialect, reply: MockReply, status: int, message: str) -> bytes:
    """Return the event, or events, of an error within a stream."""
    error = dialect.error(status, message)
    if dialect.error_event is ErrorEvent.NAMED:
        return b"event: error\n" + _encode_event(error)
    if dialect.error_event is ErrorEvent.FIELD:
        return b"error: " + encode(error["error"]) + b"\n\n"
    if dialect.error_event is ErrorEvent.CHUNK:
        writer = _ChunkWriter(dialect, reply, wants_usage=False)
        return _encode_event(writer.write_failure(error["error"])) + DONE
    return _encode_event(error)


def write_common_fields(reply: MockReply, kind: str) -> _Chunk:
    """Return the fields that the chunks and documents of all servers have."""
    return {"id": reply.id, "object": kind, "created": reply.created, "model": reply.model}


def _wait_with_comments(comments: Sequence[str], first_s: float) -> Iterator[Step]:
    """Yield the comments, evenly before the first token."""
    for comment in comments:
        yield Step(first_s / len(comments), f": {comment}\n\n".encode())


def _encode_event(document: Any) -> bytes:
    return b"data: " + encode(document) + b"\n\n"


class _ChunkWriter:
    """Writer of the chunks of one answer, in their order."""

    def __init__(self, dialect: Dialect, reply: MockReply, wants_usage: bool) -> None:
        self._dialect = dialect
        self._reply = reply
        self._wants_usage = wants_usage or dialect.has_usage_always
        self._is_first = True
        has_null = wants_usage if dialect.has_null_usage is None else dialect.has_null_usage
        self._common = {
            **write_common_fields(reply, "chat.completion.chunk"),
            **dialect.chunk_fields,
            **({"usage": None} if has_null else {}),
        }
        form = dialect.reasoning if reply.reasoning else None
        self._form = form
        self._base = {**dialect.delta_fields, **(form.base if form else {})}

    @property
    def ends_with_content(self) -> bool:
        """Whether the last content's chunk has the finish reason."""
        return self._dialect.calls.ends if self._reply.calls else self._dialect.end_delta is None

    def write_first(self) -> list[_Chunk]:
        """Return the chunk with the role, if it has one of its own."""
        delta = self._dialect.first_delta
        if delta is None:
            return []
        return [self._write_chunk({**delta, **(self._form.first if self._form else {})})]

    def write_reasoning(self) -> list[tuple[int, _Chunk]]:
        """Return the chunks of the reasoning with the number of their tokens."""
        if self._form is None:
            return []
        chunks = [(1, self._write_chunk(self._form.write(each))) for each in self._reply.reasoning]
        end = self._form.end
        return chunks if end is None else [*chunks, (0, self._write_chunk(end))]

    def write_content(self) -> list[tuple[int, _Chunk]]:
        """Return the chunks of the answer's text or calls with the number of their pieces."""
        if self._reply.calls:
            return [
                (n, self._write_chunk({"tool_calls": [call]})) for n, call in self._write_calls()
            ]
        dialect = self._dialect
        chunks = []
        for content in self._write_texts():
            chunk = self._write_chunk({"content": content}, dialect.content_choice_fields)
            chunks.append((1, {**chunk, **dialect.content_chunk_fields}))
        return chunks

    def write_end(self) -> _Chunk:
        """Return a chunk for the finish reason."""
        is_first = self._is_first
        chunk = self._write_chunk(self._dialect.end_delta or {})
        if self._dialect.role_place is RolePlace.CONTENT and not is_first:
            del chunk["choices"][0]["delta"]["role"]
        return chunk

    def complete(self, end: _Chunk) -> None:
        """Add the finish reason to the last chunk of the answer."""
        dialect, reason = self._dialect, self._reply.finish_reason
        for name in dialect.content_chunk_fields:
            end.pop(name, None)
        choice = end["choices"][0]
        choice |= dialect.end_choice_fields
        choice["finish_reason"] = dialect.reasons.get(reason, reason)
        if dialect.native_reasons is not None:
            choice["native_finish_reason"] = dialect.native_reasons.get(reason, reason)

    def write_usage(self, end: _Chunk, has_usage: bool) -> list[_Chunk]:
        """Add the usage to the chunk `end`, or return its own chunk."""
        dialect = self._dialect
        usage = write_usage(dialect, self._reply)
        if dialect.usage_also_in:
            name = dialect.usage_also_in
            end[name] = {
                **dialect.first_chunk_fields[name],
                **({"usage": usage} if has_usage else {}),
            }
        if not (has_usage and self._wants_usage):
            return []
        if dialect.usage_place is UsagePlace.LAST_CHUNK:
            end["usage"] = usage
            return []
        is_empty = dialect.usage_place is UsagePlace.OWN_CHUNK
        chunk = {**self._common, "choices": []} if is_empty else self._write_chunk({})
        return [{**chunk, "usage": usage, **dialect.usage_chunk_fields}]

    def write_failure(self, error: Any) -> _Chunk:
        """Return a chunk with an error, which ends the answer."""
        chunk = self._write_chunk({})
        chunk["choices"][0]["finish_reason"] = "error"
        return {**chunk, "error": error}

    def _write_chunk(self, fields: Fields, choice_fields: Fields | None = None) -> _Chunk:
        dialect = self._dialect
        delta = {**self._base, **fields}
        if self._is_first or dialect.role_place is not RolePlace.FIRST:
            delta["role"] = "assistant"
        choice = {"index": 0, "delta": delta, **dialect.choice_fields, **(choice_fields or {})}
        if dialect.has_null_reason:
            choice["finish_reason"] = None
        if dialect.native_reasons is not None:
            choice["native_finish_reason"] = None
        chunk = {**self._common, "choices": [choice]}
        if self._is_first:
            chunk |= dialect.first_chunk_fields
        self._is_first = False
        return chunk

    def _write_texts(self) -> Sequence[Any]:
        """Return the content of each text delta: after reasoning in parts, the first is a part."""
        tokens = list[Any](self._reply.tokens)
        if tokens and self._form and isinstance(self._form.write("").get("content"), list):
            tokens[0] = [{"type": "text", "text": tokens[0]}]
        return tokens

    def _write_calls(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the pieces of the calls, with their number in one."""
        form = self._dialect.calls
        for number, call in enumerate(self._reply.calls):
            index = number if form.index is None else form.index
            place = {"index": index} if form.has_index else {}
            pieces = ["".join(call.pieces)] if form.is_whole else call.pieces
            count = len(call.pieces) // len(pieces)
            first = write_call(self._dialect, call, pieces[0], number)
            yield count, {**place, **first}
            for piece in pieces[1:]:
                yield count, {**place, **form.later, "function": {"arguments": piece}}


def write_call(dialect: Dialect, call: MockToolCall, arguments: str, number: int) -> dict[str, Any]:
    """Return call `number` of an answer, from 0, with these arguments."""
    form = dialect.calls
    return {
        "id": call.id,
        **({"type": "function"} if form.has_type else {}),
        "function": {"name": call.name, "arguments": arguments},
        **(form.first if number == 0 else {}),
    }
