"""A run as OpenAI's `response` object, and its life as events of a stream.

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
from service.api.openai.chunks import find_finish_reason
from service.api.openai.responses.output import Output, Told
from service.domain import Usage
from service.events import AnswerDelta, AnswerToolCall, Event, RunFailed, RunFinished, RunStarted
from service.runs.projections.summary import AgentSummary, RunSummary, summarize
from service.runs.run import Run
from service.store.records import AgentAnswer, StoredRun

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Of a run that has ended without an answer. OpenAI has no word for an interrupted one.
_STATUSES = {"cancelled": "cancelled", "failed": "failed", "interrupted": "failed"}


class ResponseEvents:
    """Writes the events of a run as those of a response, from behind number `after` on."""

    def __init__(self, run: Run, after: int = -1) -> None:
        self.count = 0  # of the events so far, those that are passed over included
        self._run = run
        self._after = after
        self._output = Output(_digits(run))

    def __call__(self, _seq: int, event: Event) -> str:
        return "".join(self._written(kind, fields) for kind, fields in self._told(event))

    def _told(self, event: Event) -> list[Told]:
        match event:
            case AnswerDelta():
                return self._output.say(event.text)
            case AnswerToolCall():
                return self._output.call(event.call)
            case RunStarted():
                begun = {"response": _object(self._run, [], {"status": "in_progress"})}
                return [("response.created", begun), ("response.in_progress", begun)]
            case RunFinished() | RunFailed():
                return self._end(event)
            case _:
                return []

    def _end(self, event: RunFinished | RunFailed) -> list[Told]:
        standing = _ended(summarize(self._run.log.after(0)))
        whole = standing["status"] == "completed"
        told = self._output.close("completed" if whole else "incomplete")
        response = _object(self._run, self._output.shown(), standing)
        if isinstance(event, RunFailed):
            return [("response.failed", {"response": response})]
        return [*told, (f"response.{standing['status']}", {"response": response})]

    def _written(self, kind: str, fields: dict[str, Any]) -> str:
        number = self.count
        self.count += 1
        if number <= self._after:
            return ""
        data = json.dumps({"type": kind, "sequence_number": number, **fields})
        return f"event: {kind}\ndata: {data}\n\n"


def count_of(run: Run) -> int:
    """Return how many events of a stream there are so far."""
    events = ResponseEvents(run, after=sys.maxsize)
    for event in run.log.after(0):
        events(0, event)
    return events.count


def response_object(run: Run) -> dict[str, Any]:
    """Return a run as far as its log goes."""
    output = Output(_digits(run))
    events = run.log.after(0)
    for event in events:
        if isinstance(event, AnswerDelta):
            output.say(event.text)
        elif isinstance(event, AnswerToolCall):
            output.call(event.call)
    if not events or not events[-1].final:
        return _object(run, output.shown(), {"status": "in_progress"})
    standing = _ended(summarize(events))
    output.close("completed" if standing["status"] == "completed" else "incomplete")
    return _object(run, output.shown(), standing)


def kept_object(run: StoredRun, answers: Iterable[AgentAnswer]) -> dict[str, Any]:
    """Return a run whose events are gone as what is kept of it tells."""
    agents = {
        each.agent: AgentSummary(each.agent, each.state, report=each.report) for each in answers
    }
    standing = _ended(
        RunSummary(
            state=run.state,
            agents=agents,
            usage=run.usage,
            elapsed_ms=run.elapsed_ms,
            answered_by=run.answered_by,
            missing=tuple(run.missing),
            degraded_by=tuple(run.degraded_by),
            code=run.code,
            message=run.error,
        )
    )
    output = Output(_digits(run))
    if run.answer:
        output.say(run.answer)
    for call in run.tool_calls:
        output.call(call)
    output.close("completed" if standing["status"] == "completed" else "incomplete")
    return _object(run, output.shown(), standing)


def _digits(run: Run | StoredRun) -> str:
    return run.id.removeprefix("run_")


def _ended(end: RunSummary) -> dict[str, Any]:
    """Return what the end of a run adds to its response."""
    usage = _usage(end.usage)
    if end.state in _STATUSES:
        error = {"code": end.code, "message": end.message}
        return {"status": _STATUSES[end.state], "error": error, "usage": usage}
    end_fields = {"usage": usage, "degraded": degraded_fields(end)}
    reason = _REASONS.get(find_finish_reason(end, end.answered_by))
    if reason:
        details = {"reason": reason}
        return {"status": "incomplete", "incomplete_details": details, **end_fields}
    return {"status": "completed", "elapsed_ms": end.elapsed_ms, **end_fields}


def _object(
    run: Run | StoredRun, output: Sequence[dict[str, Any]], standing: dict[str, Any]
) -> dict[str, Any]:
    echo = run.options.echo
    created = run.created_at.timestamp()
    elapsed_ms = standing.get("elapsed_ms")
    return {
        "id": f"resp_{_digits(run)}",
        "object": "response",
        "created_at": int(created),
        "status": standing["status"],
        "background": run.options.background,
        "completed_at": None if elapsed_ms is None else int(created + elapsed_ms / 1000),
        "conversation": {"id": run.conversation_id},
        "error": standing.get("error"),
        "incomplete_details": standing.get("incomplete_details"),
        "instructions": run.options.instructions or None,
        "model": run.ensemble_name if isinstance(run, Run) else run.ensemble,
        "output": output,
        **{name: echo.get(name, usual) for name, usual in _ECHOED.items()},
        "reasoning": {"effort": None, "summary": None, **echo.get("reasoning", {})},
        "text": {"format": {"type": "text"}, **echo.get("text", {})},
        "tools": [{**_TOOL, **tool} for tool in echo.get("tools", [])],
        "store": True,
        "usage": standing.get("usage"),
        **standing.get("degraded", {}),
    }


# What the request said, or what holds when it does not.
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


def _usage(usage: Usage) -> dict[str, Any]:
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
