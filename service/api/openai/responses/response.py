"""OpenAI's `response` object of a run, and the events that stream it.

Both are folds over the run's log: the same log gives the same response and the same events, with
the same numbers, at any time and anywhere.
Source: https://platform.openai.com/docs/api-reference/responses/object and …/responses-streaming
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from service.api.http.degraded import degraded_fields
from service.api.http.frames import encode_event
from service.api.openai.chunks import find_finish_reason
from service.api.openai.responses.output import Output, StreamEvent
from service.domain import Usage
from service.events import (
    AnswerDelta,
    AnswerReasoning,
    AnswerReset,
    AnswerToolCall,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.runs.projections.summary import AgentSummary, RunSummary, summarize
from service.runs.run import Run
from service.store.records import AgentAnswer, StoredRun

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Of runs that ended without an answer. OpenAI has no status for an interrupted one.
_STATUSES = {"cancelled": "cancelled", "failed": "failed", "interrupted": "failed"}


class ResponseEvents:
    """Encoder of a run's events as those of a response, from the one after number `after`."""

    def __init__(self, run: Run, after: int = -1) -> None:
        self.count = 0  # of the events so far, including those up to `after`
        self._run = run
        self._after = after
        self._output = Output(_get_digits(run))

    def __call__(self, seq: int, event: Event) -> str:
        if event.final and self._run.log.interrupted_at is not None:
            self.count = seq  # behind a gap, as on `/api/process`; all numbers before are lower
        return "".join(self._encode(kind, fields) for kind, fields in self._fold(event))

    def _fold(self, event: Event) -> list[StreamEvent]:
        match event:
            case RunStarted():
                started = {"response": _build_object(self._run, [], {"status": "in_progress"})}
                return [("response.created", started), ("response.in_progress", started)]
            case RunFinished() | RunFailed():
                return self._end(event)
            case _:
                return _add_event(self._output, event)

    def _end(self, event: RunFinished | RunFailed) -> list[StreamEvent]:
        outcome = _build_outcome(summarize(self._run.log.after(0)))
        is_complete = outcome["status"] == "completed"
        events = self._output.close("completed" if is_complete else "incomplete")
        response = _build_object(self._run, self._output.build_items(), outcome)
        if isinstance(event, RunFailed):
            return [("response.failed", {"response": response})]
        return [*events, (f"response.{outcome['status']}", {"response": response})]

    def _encode(self, kind: str, fields: dict[str, Any]) -> str:
        number = self.count
        self.count += 1
        if number <= self._after:
            return ""
        data = json.dumps({"type": kind, "sequence_number": number, **fields})
        return encode_event(data, name=kind)


def _add_event(output: Output, event: Event) -> list[StreamEvent]:
    """Add the content of an event to `output`, and return the events that a stream has for it."""
    match event:
        case AnswerDelta():
            return output.add_text(event.text)
        case AnswerReasoning():
            return output.add_reasoning(event.text)
        case AnswerReset():
            return output.recall_text()
        case AnswerToolCall():
            return output.add_call(event.call)
        case _:
            return []


def count_events(run: Run) -> int:
    """Return the number of events of a run's response so far."""
    events = ResponseEvents(run, after=sys.maxsize)
    for seq, event in run.log.numbered():
        events(seq, event)
    return events.count


def build_response(run: Run) -> dict[str, Any]:
    """Return the response of a run with its output so far."""
    output = Output(_get_digits(run))
    events = run.log.after(0)
    for event in events:
        _add_event(output, event)
    if not events or not events[-1].final:
        return _build_object(run, output.build_items(), {"status": "in_progress"})
    outcome = _build_outcome(summarize(events))
    output.close("completed" if outcome["status"] == "completed" else "incomplete")
    return _build_object(run, output.build_items(), outcome)


def build_stored_response(run: StoredRun, answers: Iterable[AgentAnswer]) -> dict[str, Any]:
    """Return the response of a run whose events have expired, from its stored record."""
    agents = {
        each.agent: AgentSummary(each.agent, each.state, report=each.report) for each in answers
    }
    outcome = _build_outcome(
        RunSummary(
            state=run.state,
            agents=agents,
            usage=run.usage,
            elapsed_ms=run.elapsed_ms,
            answered_by=run.answered_by,
            finish_reason=run.finish_reason or "",
            missing=tuple(run.missing),
            degraded_by=tuple(run.degraded_by),
            code=run.code,
            message=run.error,
        )
    )
    output = Output(_get_digits(run))
    if run.answer:
        output.add_text(run.answer)
    for call in run.tool_calls:
        output.add_call(call)
    output.close("completed" if outcome["status"] == "completed" else "incomplete")
    return _build_object(run, output.build_items(), outcome)


def _get_digits(run: Run | StoredRun) -> str:
    return run.id.removeprefix("run_")


def _build_outcome(end: RunSummary) -> dict[str, Any]:
    """Return the fields of a response that its run's end determines."""
    usage = _format_usage(end.usage)
    if end.state in _STATUSES:
        error = {"code": end.code, "message": end.message}
        return {"status": _STATUSES[end.state], "error": error, "usage": usage}
    end_fields = {"usage": usage, "degraded": degraded_fields(end)}
    reason = _REASONS.get(find_finish_reason(end, end.answered_by))
    if reason:
        details = {"reason": reason}
        return {"status": "incomplete", "incomplete_details": details, **end_fields}
    return {"status": "completed", "elapsed_ms": end.elapsed_ms, **end_fields}


def _build_object(
    run: Run | StoredRun, output: Sequence[dict[str, Any]], outcome: dict[str, Any]
) -> dict[str, Any]:
    echo = run.options.echo
    created = run.created_at.timestamp()
    elapsed_ms = outcome.get("elapsed_ms")
    return {
        "id": f"resp_{_get_digits(run)}",
        "object": "response",
        "created_at": int(created),
        "status": outcome["status"],
        "background": run.options.background,
        "completed_at": None if elapsed_ms is None else int(created + elapsed_ms / 1000),
        "conversation": {"id": run.conversation_id},
        "error": outcome.get("error"),
        "incomplete_details": outcome.get("incomplete_details"),
        "instructions": run.options.instructions or None,
        "model": run.ensemble_name if isinstance(run, Run) else run.ensemble,
        "output": output,
        **{name: echo.get(name, default) for name, default in _ECHOED.items()},
        "reasoning": {"effort": None, "summary": None, **echo.get("reasoning", {})},
        "text": {"format": {"type": "text"}, **echo.get("text", {})},
        "tools": [{**_TOOL, **tool} for tool in echo.get("tools", [])],
        "store": True,
        "usage": outcome.get("usage"),
        **outcome.get("degraded", {}),
    }


# Fields that repeat those of the request, with their defaults.
_ECHOED: dict[str, Any] = {
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": None,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_TOOL = {"description": None, "parameters": None, "strict": None}


def _format_usage(usage: Usage) -> dict[str, Any]:
    counts = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
    return {**counts, "estimated": True} if usage.estimated else counts
