"""Plans of the mock's responses: which bytes to send when, including scripted faults.

A pure function from a request and its script to a Plan. The transport and the socket server play
the same plans.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from service.mock_llm.dialects.dialect import Dialect
from service.mock_llm.dialects.document import write_document
from service.mock_llm.dialects.servers import find_dialect
from service.mock_llm.dialects.stream import write_error_event, write_stream
from service.mock_llm.reply import MockCall, make_reply
from service.mock_llm.script import Fault, Script
from service.mock_llm.wire import (
    JSON_TYPE,
    STREAM_HEADERS,
    AnswerStream,
    End,
    MockReply,
    Plan,
    Step,
    completion_document,
    encode,
    error_document,
    json_plan,
    write_openai_stream,
)

_SPLIT_GAP_S = 0.002  # makes a socket send the parts as separate blocks
_FAILURE_MESSAGE = "The mock failed, as scripted."


class _SoundAnswer(NamedTuple):
    """The steps of a complete answer; the first `cut` of them are sent before a fault.

    `error` is the event of an error. With `has_usage` the step before the last has the usage.
    """

    steps: list[Step]
    cut: int
    script: Script
    error: bytes = b""
    has_usage: bool = False


def plan_call(call: MockCall) -> Plan:
    """Return the plan of the response to a chat request, with its scripted fault."""
    fault = call.script.fault
    if fault in _UNANSWERED:
        return _UNANSWERED[fault](call.script)
    reply = make_reply(call)
    if not call.request.stream:
        return _plan_unstreamed(call.script, reply)
    dialect = find_dialect(call.script.dialect)
    stream = _write_stream(call, reply, dialect)
    if fault not in _FAULTS:
        return Plan(200, STREAM_HEADERS, stream.steps)
    draft = _SoundAnswer(
        stream.steps,
        cut=stream.lead + min(call.script.after, stream.pieces),
        script=call.script,
        error=_write_error_event(reply, dialect),
        has_usage=dialect is None and call.request.wants_usage,
    )
    return Plan(200, STREAM_HEADERS, *_FAULTS[fault](draft))


def _write_stream(call: MockCall, reply: MockReply, dialect: Dialect | None) -> AnswerStream:
    wants_usage = call.request.wants_usage
    if dialect is None:
        return write_openai_stream(reply, wants_usage)
    has_usage = call.script.fault != "no_usage"
    return write_stream(dialect, reply, wants_usage=wants_usage, has_usage=has_usage)


def _write_error_event(reply: MockReply, dialect: Dialect | None) -> bytes:
    if dialect is None:
        return b"data: " + encode(error_document(500, _FAILURE_MESSAGE)) + b"\n\n"
    return write_error_event(dialect, reply, 500, _FAILURE_MESSAGE)


def _plan_unstreamed(script: Script, reply: MockReply) -> Plan:
    """Return the plan of a response without streaming, sent when the last token would be due.

    A fault after some tokens happens after half of the body.
    """
    wait_s = sum(reply.delays)
    dialect = find_dialect(script.dialect)
    document = write_document(dialect, reply) if dialect else completion_document(reply)
    if script.fault == "no_usage":
        del document["usage"]
    if script.fault == "error_object":
        document = _write_error(script, 500, _FAILURE_MESSAGE)
    if script.fault not in _UNSTREAMED_FAULTS:
        return json_plan(200, document, wait_s=wait_s)
    body = encode(document)
    middle = len(body) // 2
    halves = [Step(0.0, body[:middle]), Step(0.0, body[middle:])]
    steps, end = _FAULTS[script.fault](_SoundAnswer(halves, 1, script))
    return Plan(200, (JSON_TYPE,), steps, end, wait_s)


def _write_error(script: Script, status: int, message: str) -> Any:
    """Return the error object of the script's dialect, else OpenAI's."""
    dialect = find_dialect(script.dialect)
    return dialect.error(status, message) if dialect else error_document(status, message)


def _plan_status(script: Script) -> Plan:
    headers = [] if script.retry_after is None else [("retry-after", f"{script.retry_after:g}")]
    message = f"The mock answered {script.status}, as scripted."
    return json_plan(script.status, _write_error(script, script.status, message), *headers)


def _add_garbage(draft: _SoundAnswer) -> tuple[list[Step], End]:
    sent, left = draft.steps[: draft.cut], draft.steps[draft.cut :]
    return [*sent, Step(0.0, b"data: {oops\n\n"), *left], End.CLEAN


def _add_error_object(draft: _SoundAnswer) -> tuple[list[Step], End]:
    return [*draft.steps[: draft.cut], Step(0.0, draft.error)], End.CLEAN


def _send_byte_by_byte(draft: _SoundAnswer) -> tuple[list[Step], End]:
    stream = b"".join(step.data for step in draft.steps)
    return [Step(draft.script.drip_ms / 1000, bytes([byte])) for byte in stream], End.CLEAN


def _pause(draft: _SoundAnswer) -> tuple[list[Step], End]:
    steps = [*draft.steps]
    delay_s, data = steps[draft.cut]
    steps[draft.cut] = Step(delay_s + draft.script.pause_ms / 1000, data)
    return steps, End.CLEAN


def _send_binary(_: _SoundAnswer) -> tuple[list[Step], End]:
    noise = Random(0).randbytes(4096)  # noqa: S311  # deterministic bytes
    return [Step(0.0, b"\x89PNG\r\n\x1a\n\0" + noise)], End.CLEAN


def _split_characters(draft: _SoundAnswer) -> tuple[list[Step], End]:
    steps = []
    for delay_s, data in draft.steps:
        cuts = [0, *(i + 1 for i, byte in enumerate(data) if byte >= 0xC0), len(data)]
        first, *others = [data[a:b] for a, b in pairwise(cuts)]
        steps += [Step(delay_s, first), *(Step(_SPLIT_GAP_S, part) for part in others)]
    return steps, End.CLEAN


def _use_crlf(draft: _SoundAnswer) -> tuple[list[Step], End]:
    comment = b": still here\r\n\r\n"
    lines = [(delay_s, data.replace(b"\n", b"\r\n")) for delay_s, data in draft.steps]
    return [Step(delay_s, comment + data) for delay_s, data in lines], End.CLEAN


def _drop_usage(draft: _SoundAnswer) -> tuple[list[Step], End]:
    steps = draft.steps
    return ([*steps[:-2], steps[-1]] if draft.has_usage else steps), End.CLEAN


_UNANSWERED: dict[Fault | None, Callable[[Script], Plan]] = {
    "status": _plan_status,
    "refuse": lambda _: Plan(None, end=End.RESET),
    "hang": lambda _: Plan(None, end=End.HANG),
}
_FAULTS: dict[Fault | None, Callable[[_SoundAnswer], tuple[list[Step], End]]] = {
    "reset": lambda draft: (draft.steps[: draft.cut], End.RESET),
    "stall": lambda draft: (draft.steps[: draft.cut], End.HANG),
    "cut": lambda draft: (draft.steps[: draft.cut], End.CLEAN),
    "pause": _pause,
    "drip": _send_byte_by_byte,
    "garbage": _add_garbage,
    "error_object": _add_error_object,
    "binary": _send_binary,
    "split_utf8": _split_characters,
    "crlf": _use_crlf,
    "no_done": lambda draft: (draft.steps[:-1], End.CLEAN),
    "double_done": lambda draft: ([*draft.steps, draft.steps[-1]], End.CLEAN),
    "no_usage": _drop_usage,
}
# Faults that also apply to a response without streaming.
_UNSTREAMED_FAULTS = {"reset", "stall", "cut", "pause", "drip", "garbage", "binary", "split_utf8"}
