"""An answer as OpenAI's `chat.completion` and `chat.completion.chunk` objects, as ASCII JSON.

Source: https://platform.openai.com/docs/api-reference/chat and …/chat-streaming
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from service.api.http.degraded import degraded_fields
from service.api.http.errors import openai_error
from service.api.http.sse import Encode
from service.api.runs.event_json import fields_of
from service.domain import ToolCall, Usage
from service.events import (
    AgentDelta,
    AnswerDelta,
    AnswerToolCall,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.messages import format_tool_call
from service.runs.projections.summary import RunSummary, summarize
from service.runs.run import Run

DONE: Final = "data: [DONE]\n\n"
Frame = Callable[[str], str]


class Chunks:
    """Writes the chunks of one run's answer; id, time and model are the same in all of them.

    With `usage` each chunk says that there is none yet; the last one is `total`.
    """

    def __init__(self, run: Run, *, usage: bool = False) -> None:
        self._head = head(run, "chat.completion.chunk")
        self._none_yet = ', "usage": null' if usage else ""
        self._opening = json.dumps(self._head)[:-1] + ', "choices": [{"index": 0, "delta": '
        self._called: set[int] = set()

    def role(self) -> str:
        """Return the first chunk, which says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> str:
        """Return the chunk of a piece of the answer. There are many: kept cheap."""
        delta = f'{{"content": {json.dumps(text)}}}'
        return f'{self._opening}{delta}, "finish_reason": null}}]{self._none_yet}}}'

    def call(self, piece: ToolCall) -> str:
        """Return the chunk of a piece of a tool call; the first of a call names it."""
        call = format_tool_call(piece)
        if piece.index in self._called:
            call = {"function": {"arguments": piece.arguments}}
        self._called.add(piece.index)
        return self._chunk({"tool_calls": [{"index": piece.index, **call}]})

    def silence(self) -> str:
        """Return a chunk without text, for a client that takes nothing but chunks."""
        return self._chunk({})

    def progress(self, seq: int, event: Event) -> str:
        """Return a chunk without text that says in a field of its own what happened."""
        return self._chunk({})[:-1] + f', "progress": {json.dumps(fields_of(seq, event))}}}'

    def end(self, finish_reason: str, degraded: Mapping[str, Any]) -> str:
        """Return the last chunk of the answer, with why the text ends and the fields `degraded`."""
        chunk = self._chunk({}, finish_reason)
        return f"{chunk[:-1]}, {json.dumps(degraded)[1:]}" if degraded else chunk

    def total(self, usage: Usage, degraded: Mapping[str, Any]) -> str:
        """Return the chunk with the usage of all agents and the fields `degraded`."""
        return json.dumps({**self._head, "choices": [], "usage": usage_object(usage), **degraded})

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        ending = f', "finish_reason": {json.dumps(finish_reason)}}}]{self._none_yet}}}'
        return self._opening + json.dumps(delta) + ending


def framed(
    run: Run, frame: Frame, closing: str = "", *, usage: bool = False, progress: bool = False
) -> Encode:
    """Return what writes the events of `run` as chunks, each in its frame.

    `closing` comes after the last of a whole answer; a failure is an error object instead.
    """
    chunks = Chunks(run, usage=usage)

    def encode(seq: int, event: Event) -> str:
        if isinstance(event, AnswerDelta):
            return frame(chunks.text(event.text))
        written = frame(chunks.progress(seq, event)) if progress and _tells(event) else ""
        match event:
            case RunStarted():
                return frame(chunks.role()) + written
            case AnswerToolCall():
                return frame(chunks.call(event.call))
            case RunFinished():
                reason = finish_reason(summarize(run.log.after(0)), event.answered_by)
                degraded = degraded_fields(event)
                total = frame(chunks.total(event.usage, degraded)) if usage else ""
                return written + frame(chunks.end(reason, degraded)) + total + closing
            case RunFailed():
                return written + frame(json.dumps(openai_error(event.message, event.code)))
            case _:
                return written

    return encode


def as_data(data: str) -> str:
    """Return a chunk as a server-sent event."""
    return f"data: {data}\n\n"


def completion(run: Run, answer: RunSummary) -> dict[str, Any]:
    """Return a run that has ended well as a `chat.completion`."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.answer, "refusal": None}
    if answer.tool_calls:
        message["content"] = answer.answer or None
        message["tool_calls"] = [format_tool_call(each) for each in answer.tool_calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(answer, answer.answered_by),
    }
    shown = head(run, "chat.completion")
    usage = usage_object(answer.usage)
    return {**shown, "choices": [choice], "usage": usage, **degraded_fields(answer)}


def head(run: Run, kind: str) -> dict[str, Any]:
    """Return what all objects of one answer have in common."""
    return {
        "id": f"chatcmpl-{run.id.removeprefix('run_')}",
        "object": kind,
        "created": int(run.created_at.timestamp()),
        "model": run.ensemble_name,
        "system_fingerprint": f"fp_{run.config_hash}",
    }


def finish_reason(answer: RunSummary, answered_by: str | None) -> str:
    """Return why whoever wrote the answer stopped, in OpenAI's words."""
    author = answer.agents.get(answered_by or "")
    reason = author.report.finish_reason if author and author.report else ""
    if reason in ("length", "content_filter"):
        return reason
    return "tool_calls" if answer.tool_calls else "stop"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return token counts as OpenAI has them; `estimated` only when it is so."""
    counts = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return {**counts, "estimated": True} if usage.estimated else counts


def _tells(event: Event) -> bool:
    return not isinstance(event, AgentDelta | AnswerToolCall)
