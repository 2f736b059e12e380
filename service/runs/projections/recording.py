"""The recording of a run: the times of its events, and its calls of models piece by piece. No I/O.

It is stored with the end of the run, so a run that another process ended has none. Text that the
events have too is not stored twice.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from service.domain import AgentReport, ToolCall, Usage
from service.errors import UpstreamError
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentSkipped,
    Event,
    RunFailed,
    RunFinished,
)
from service.runs.log import RunLog
from service.strategies.calls.recorder import REASONING, TEXT, TOOL, CallRecorder


class CallFailure(msgspec.Struct, omit_defaults=True):
    """The failure of a call. `status` is that of the response if `has_status`."""

    code: str
    message: str
    status: int | None = None
    has_status: bool = False
    sentence: str = ""
    codes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    retry_after_s: float | None = None


class StoredCall(msgspec.Struct, omit_defaults=True):
    """One request to a model. Times are in ms: `at` from the start of the run, `took` to its end.

    `times` and `sizes` are the arrays of `CallRecorder`, packed. `text` is None when it is
    that of the agent's report. A call without `failure` and `finish` was cancelled.
    """

    agent: str
    model: str
    at: int
    took: int
    is_stream: bool = True
    is_hedge: bool = False
    times: bytes = b""
    sizes: bytes = b""
    text: str | None = None
    thoughts: str = ""
    tools: Sequence[ToolCall] = ()
    finish: str = ""
    usage: Usage | None = None
    failure: CallFailure | None = None


class Recording(msgspec.Struct, omit_defaults=True):
    """A run's calls, and the times of its events: the seconds from its start, packed."""

    times: bytes = b""
    calls: Sequence[StoredCall] = ()

    @property
    def times_ms(self) -> Sequence[int]:
        """The ms from the start of the run to each event."""
        return _unpack_ms(self.times)


class RecordedPiece(NamedTuple):
    """A piece of a response, `after_ms` the one before it. `kind` is as in `CallRecorder.sizes`."""

    after_ms: int
    kind: int
    content: str | ToolCall


_REPORTING = {AgentFinished, AgentFailed, AgentSkipped, RunFinished, RunFailed}

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Recording)


def encode_recording(log: RunLog, final: Event, recorders: Iterable[CallRecorder]) -> bytes:
    """Return the recording of a run that ends now with `final`, which is not in its log yet."""
    texts = {each.agent: each.text for each in _list_reports([*log.after(0), final])}
    calls = [_store_call(each, log, texts) for each in recorders if each.reply.was_sent]
    return _encode(Recording(_pack(log.list_times_s()), calls))


def decode_recording(data: bytes | None, events: Iterable[Event]) -> Recording | None:
    """Return a stored recording, with the texts that only the events have."""
    if data is None:
        return None
    recording = _decoder.decode(data)
    texts = {each.agent: each.text for each in _list_reports(events)}
    for call in recording.calls:
        if call.text is None:
            call.text = texts.get(call.agent, "")
    return recording


def list_pieces(call: StoredCall) -> Iterator[RecordedPiece]:
    """Yield the pieces of a call's response in order; the last text is that without a time."""
    text, thoughts = call.text or "", call.thoughts
    times_ms, sizes = _unpack_ms(call.times), _unpack("I", call.sizes)
    recalls = [at for at, size in enumerate(sizes) if size % 4 not in (TEXT, REASONING, TOOL)]
    last_recall = recalls[-1] if recalls else -1
    text_at = thought_at = before_ms = 0
    for number, (at_ms, entry) in enumerate(zip(times_ms, sizes, strict=True)):
        size, kind = divmod(entry, 4)
        gap, before_ms = max(0, at_ms - before_ms), at_ms
        if kind == TOOL:
            yield RecordedPiece(gap, kind, call.tools[size])
        elif kind == TEXT and number > last_recall:
            yield RecordedPiece(gap, kind, text[text_at : text_at + size])
            text_at += size
        else:  # text that was recalled later is the start of the reasoning, and is repeated in it
            yield RecordedPiece(gap, kind, thoughts[thought_at : thought_at + size])
            thought_at = 0 if number + 1 in recalls else thought_at + size
    if rest := text[text_at:]:
        yield RecordedPiece(0, TEXT, rest)


def _store_call(recorder: CallRecorder, log: RunLog, texts: Mapping[str, str]) -> StoredCall:
    reply, text = recorder.reply, recorder.reply.text
    ended_at = recorder.started_at if recorder.ended_at is None else recorder.ended_at
    has_ended = recorder.error is None and (reply.has_ended or reply.has_message)
    return StoredCall(
        agent=recorder.agent,
        model=recorder.call.model,
        at=max(0, round((recorder.started_at - log.started_at) * 1000)),
        took=max(0, round((ended_at - recorder.started_at) * 1000)),
        is_stream=recorder.call.stream,
        is_hedge=recorder.call.is_hedge,
        times=_pack(recorder.times_s),
        sizes=_pack(recorder.sizes),
        text=None if text == texts.get(recorder.agent) else text,
        thoughts=reply.reasoning,
        tools=recorder.tools,
        finish=(reply.finish_reason or "stop") if has_ended else "",
        usage=reply.usage,
        failure=_store_failure(recorder.error, reply.finish_reason) if recorder.error else None,
    )


def _store_failure(error: UpstreamError, finish_reason: str) -> CallFailure:
    report = error.report
    return CallFailure(
        code=error.code,
        message=error.message,
        status=report.status,
        has_status=report.has_status,
        sentence=report.sentence,
        codes=report.codes or ((finish_reason,) if finish_reason else ()),
        fields=report.fields,
        retry_after_s=error.retry_after_s,
    )


def _pack(values: array[Any]) -> bytes:
    """Return the items as bytes, little-endian: a list takes ten times as long to encode."""
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _unpack(typecode: Literal["f", "I"], data: bytes) -> array[Any]:
    values = array(typecode, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _unpack_ms(data: bytes) -> list[int]:
    """Return times in ms, from seconds; none is less than the one before it."""
    return [max(0, round(each * 1000)) for each in _unpack("f", data)]


def _list_reports(events: Iterable[Event]) -> Iterator[AgentReport]:
    # By type first: isinstance of a msgspec.Struct takes 0.1 µs, and a run has hundreds of events.
    for event in [each for each in events if type(each) in _REPORTING]:
        if isinstance(event, AgentFinished | AgentFailed | AgentSkipped):
            yield event.report
        elif isinstance(event, RunFinished):
            yield from filter(None, [event.combiner])
        elif isinstance(event, RunFailed):
            yield from event.unfinished
