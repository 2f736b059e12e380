"""OpenAI's `chat.completion` and `chat.completion.chunk` objects of an answer, as ASCII JSON.

Source: https://platform.openai.com/docs/api-reference/chat and …/chat-streaming
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from service.api.http.degraded import degraded_fields
from service.api.http.errors import openai_error
from service.api.http.frames import encode_text
from service.api.http.sse import Encode
from service.api.runs.event_json import fields_of
from service.domain import ToolCall, Usage
from service.events import (
    AgentDelta,
    AgentReasoning,
    AnswerDelta,
    AnswerReasoning,
    AnswerToolCall,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.messages import format_call_continuation, format_tool_call
from service.runs.projections.summary import RunSummary, summarize
from service.runs.run import Run

Frame = Callable[[str], str]


class Chunks:
    """Encoder of the chunks of one run's answer, which share their id, time and model.

    With `usage`, each chunk has the usage null, until `encode_usage` ends the stream.
    """

    def __init__(self, run: Run, *, usage: bool = False) -> None:
        self._head = _build_head(run, "chat.completion.chunk")
        self._null_usage = ', "usage": null' if usage else ""
        self._opening = json.dumps(self._head)[:-1] + ', "choices": [{"index": 0, "delta": '
        self._named_calls: set[int] = set()

    def encode_role(self) -> str:
        """Return the first chunk, which has the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def encode_text(self, text: str) -> str:
        """Return the chunk of a piece of the answer's text.

        Only the text is encoded as JSON: an answer has thousands of these chunks.
        """
        delta = f'{{"content": {encode_text(text)}}}'
        return f'{self._opening}{delta}, "finish_reason": null}}]{self._null_usage}}}'

    def encode_reasoning(self, text: str) -> str:
        """Return the chunk of a piece of the model's reasoning."""
        return self._chunk({"reasoning_content": text})

    def encode_call(self, piece: ToolCall) -> str:
        """Return the chunk of a piece of a tool call; the first of a call has its id and name."""
        is_first = piece.index not in self._named_calls
        call = format_tool_call(piece) if is_first else format_call_continuation(piece)
        self._named_calls.add(piece.index)
        return self._chunk({"tool_calls": [{"index": piece.index, **call}]})

    def encode_keep_alive(self) -> str:
        """Return a chunk without text, for clients that accept only chunks."""
        return self._chunk({})

    def encode_progress(self, seq: int, event: Event) -> str:
        """Return a chunk without text, with `event` in the field `progress`."""
        return self._chunk({})[:-1] + f', "progress": {json.dumps(fields_of(seq, event))}}}'

    def encode_end(self, finish_reason: str, degraded: Mapping[str, Any]) -> str:
        """Return the last chunk of the answer, with `finish_reason` and the fields `degraded`."""
        chunk = self._chunk({}, finish_reason)
        return f"{chunk[:-1]}, {json.dumps(degraded)[1:]}" if degraded else chunk

    def encode_usage(self, usage: Usage, degraded: Mapping[str, Any]) -> str:
        """Return the chunk with the usage of all agents and the fields `degraded`."""
        return json.dumps({**self._head, "choices": [], "usage": format_usage(usage), **degraded})

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        ending = f', "finish_reason": {json.dumps(finish_reason)}}}]{self._null_usage}}}'
        return self._opening + json.dumps(delta) + ending


def make_encoder(
    run: Run, frame: Frame, closing: str = "", *, usage: bool = False, progress: bool = False
) -> Encode:
    """Return a function that encodes the events of `run` as chunks, each through `frame`.

    `closing` follows the last chunk of a complete answer. A failure is encoded as an error object.
    """
    chunks = Chunks(run, usage=usage)

    def encode(seq: int, event: Event) -> str:
        if isinstance(event, AnswerDelta):
            return frame(chunks.encode_text(event.text))
        update = (
            frame(chunks.encode_progress(seq, event)) if progress and _is_progress(event) else ""
        )
        match event:
            case RunStarted():
                return frame(chunks.encode_role()) + update
            case AnswerReasoning():
                return frame(chunks.encode_reasoning(event.text))
            case AnswerToolCall():
                return frame(chunks.encode_call(event.call))
            case RunFinished():
                reason = find_finish_reason(summarize(run.log.after(0)), event.answered_by)
                degraded = degraded_fields(event)
                total = frame(chunks.encode_usage(event.usage, degraded)) if usage else ""
                return update + frame(chunks.encode_end(reason, degraded)) + total + closing
            case RunFailed():
                return update + frame(json.dumps(openai_error(event.message, event.code)))
            case _:
                return update

    return encode


def build_completion(run: Run, answer: RunSummary) -> dict[str, Any]:
    """Return the `chat.completion` of a run that has completed."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.answer, "refusal": None}
    author = answer.agents.get(answer.answered_by or "")
    if author and author.reasoning and run.options.reasoning != "none":
        message["reasoning_content"] = author.reasoning
    if answer.tool_calls:
        message["content"] = answer.answer or None
        message["tool_calls"] = [format_tool_call(each) for each in answer.tool_calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": find_finish_reason(answer, answer.answered_by),
    }
    head = _build_head(run, "chat.completion")
    usage = format_usage(answer.usage)
    return {**head, "choices": [choice], "usage": usage, **degraded_fields(answer)}


def _build_head(run: Run, kind: str) -> dict[str, Any]:
    """Return the fields that all objects of one answer share."""
    return {
        "id": f"chatcmpl-{run.id.removeprefix('run_')}",
        "object": kind,
        "created": int(run.created_at.timestamp()),
        "model": run.ensemble_name,
        "system_fingerprint": f"fp_{run.config_hash}",
    }


def find_finish_reason(answer: RunSummary, answered_by: str | None) -> str:
    """Return OpenAI's finish reason; that of the answer's author where the run has none."""
    author = answer.agents.get(answered_by or "")
    of_author = author.report.finish_reason if author and author.report else ""
    reason = answer.finish_reason or of_author
    if reason in ("length", "content_filter"):
        return reason
    return "tool_calls" if answer.tool_calls else "stop"


def format_usage(usage: Usage) -> dict[str, Any]:
    """Return token counts in OpenAI's format; `estimated` is present only when true."""
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


def _is_progress(event: Event) -> bool:
    """Return whether an event is reported in `progress`; those of text are sent as text."""
    return not isinstance(event, AgentDelta | AgentReasoning | AnswerReasoning | AnswerToolCall)
