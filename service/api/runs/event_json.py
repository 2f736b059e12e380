"""Events on `/api/process` and `/api/runs`: ASCII JSON in unnamed server-sent events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from service.api.http.degraded import degraded_fields
from service.api.http.frames import encode_event, encode_text
from service.api.http.sse import Encode
from service.api.runs.report_json import report_json, usage_json
from service.domain import AgentReport
from service.events import (
    AgentDelta,
    AgentFailed,
    AgentFinished,
    AgentHedged,
    AgentReasoning,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    AnswerDelta,
    AnswerReasoning,
    AnswerReset,
    AnswerToolCall,
    CombineStarted,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.events.findings import (
    AnalysisFinished,
    Finding,
    GateDecided,
    ProvenanceFinished,
    RankingFinished,
    VoteFinished,
)
from service.events.seams import AgentContinued, AnswerContinued, Seam
from service.runs.run import Run

_DELTAS = (AnswerDelta, AgentDelta)


def encoder(run: Run) -> Encode:
    """Return an encoder that writes an event of `run` as JSON text."""
    ids = {"message_id": run.message_id, "conversation_id": run.conversation_id}
    opening = json.dumps(ids)[:-1]

    def encode(seq: int, event: Event) -> str:
        if isinstance(event, _DELTAS):  # nearly all events
            status = "Streaming" if type(event) is AnswerDelta else "Thinking"
            rest = (
                f'"status": "{status}", "source": "{event.agent}", "message": '
                f'{encode_text(event.text)}, "type": "{event.type}", "seq": {seq}}}'
            )
        else:
            rest = json.dumps(fields_of(seq, event))[1:]
        return encode_event(f"{opening}, {rest}", event_id=f"{run.id}-{seq}")

    return encode


def fields_of(seq: int, event: Event) -> dict[str, Any]:
    """Return the fields of event number `seq` besides the text and the common ones."""
    final = {"final": True} if event.final else {}
    return {**_FIELDS[type(event)](event), **final, "type": event.type, "seq": seq}


def _started(event: RunStarted) -> dict[str, Any]:
    return {
        "status": "Accepted",
        "source": "service",
        "run_id": event.run_id,
        "trace_id": event.trace_id,
        "ensemble": event.ensemble,
        "agents": event.agents,
    }


def _asked(event: AgentStarted) -> dict[str, Any]:
    return {"status": f"Sending to {event.agent}", "source": event.agent, "model": event.model}


def _answered(event: AgentFinished) -> dict[str, Any]:
    return {
        "status": f"Received from {event.agent}",
        "source": event.agent,
        **report_json(event.report),
    }


def _failed(event: AgentFailed) -> dict[str, Any]:
    return _without_answer("Failed", event) | _partial_report(event.report)


def _skipped(event: AgentSkipped) -> dict[str, Any]:
    return _without_answer("Skipped", event) | _partial_report(event.report)


def _partial_report(report: AgentReport) -> dict[str, Any]:
    return {**report_json(report), "partial": bool(report.text.strip())}


def _retrying(event: AgentRetrying) -> dict[str, Any]:
    more = {"model": event.model, "attempt": event.attempt, "delay_ms": event.delay_ms}
    return _without_answer("Retrying", event) | more


def _hedged(event: AgentHedged) -> dict[str, Any]:
    return {
        "status": f"Hedging {event.agent}",
        "source": event.agent,
        "message": f"{event.agent} is late, and is called again beside the first call.",
        "model": event.model,
        "waited_ms": event.waited_ms,
    }


def _without_answer(
    what: str, event: AgentFailed | AgentSkipped | AgentRetrying | Seam
) -> dict[str, Any]:
    return {
        "status": f"{what} {event.agent}",
        "source": event.agent,
        "code": event.code,
        "message": event.message,
    }


def _continued(event: Seam) -> dict[str, Any]:
    more = {"model": event.model, "position": event.position}
    return _without_answer("Continuing", event) | more


def _combining(event: CombineStarted) -> dict[str, Any]:
    # Existing clients compare this exact string, whatever the name of the combiner.
    return {"status": "Combining via LLM 3", "source": event.agent, "used": event.used}


def _called(event: AnswerToolCall) -> dict[str, Any]:
    call = event.call
    piece: dict[str, Any] = {
        "index": call.index,
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        **({"extra": call.extra} if call.extra else {}),
    }
    return {"status": "Streaming", "source": event.agent, "tool_call": piece}


def _reasoned(event: AgentReasoning | AnswerReasoning) -> dict[str, Any]:
    return {"status": "Reasoning", "source": event.agent, "message": event.text}


def _reset(event: AnswerReset) -> dict[str, Any]:
    return {"status": "Streaming", "source": event.agent}


def _found(event: Finding) -> dict[str, Any]:
    """Return the fields of an event of a strategy; without an agent its source is the service."""
    contents: dict[str, Any] = msgspec.to_builtins(event)
    source = contents.pop("agent", "service")
    return {"status": _FINDINGS[type(event)], "source": source, **contents}


_FINDINGS: dict[type[Finding], str] = {
    AnalysisFinished: "Analysed",
    VoteFinished: "Voted",
    RankingFinished: "Ranked",
    GateDecided: "Decided",
    ProvenanceFinished: "Attributed",
}


def _completed(event: RunFinished) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "status": "Completed",
        "source": event.agent,
        "usage": usage_json(event.usage),
        "cost": event.cost,
        "elapsed_ms": event.elapsed_ms,
        **({"finish_reason": event.finish_reason} if event.finish_reason else {}),
    }
    if event.degraded:
        fields |= {**degraded_fields(event), "answered_by": event.answered_by}
    return fields


def _ended_badly(event: RunFailed) -> dict[str, Any]:
    return {
        "status": "error",
        "source": event.agent,
        "code": event.code,
        "message": event.message,
        "partial": event.partial,
        "usage": usage_json(event.usage),
        "cost": event.cost,
        "elapsed_ms": event.elapsed_ms,
        **({} if event.interrupted_at is None else {"interrupted_at": event.interrupted_at}),
    }


_FIELDS: dict[type[Event], Callable[[Any], dict[str, Any]]] = {
    RunStarted: _started,
    AgentStarted: _asked,
    AgentFinished: _answered,
    AgentFailed: _failed,
    AgentSkipped: _skipped,
    AgentRetrying: _retrying,
    AgentHedged: _hedged,
    AgentContinued: _continued,
    AnswerContinued: _continued,
    CombineStarted: _combining,
    AnswerToolCall: _called,
    AgentReasoning: _reasoned,
    AnswerReasoning: _reasoned,
    AnswerReset: _reset,
    RunFinished: _completed,
    RunFailed: _ended_badly,
    **dict.fromkeys(_FINDINGS, _found),
}
