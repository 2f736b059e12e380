"""Exported runs for tests of replays: documents with calls of every kind."""

from __future__ import annotations

import json
from typing import Any

from service.replay.document import RunRecord, read_document

RUN_ID = "run_" + "1" * 32
QUESTION = "Why is the sky blue?"


def a_document(*calls: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return an exported run with these calls."""
    events = [
        {"at_ms": 0, "event": {"status": "Accepted", "type": "run.started", "seq": 1}},
        {"at_ms": 20, "event": {"message": "Blué 👋", "type": "answer.delta", "seq": 2}},
        {"at_ms": 50, "event": {"final": True, "type": "run.finished", "seq": 3, "cost": 1e-05}},
    ]
    document = {
        "format": "llm-sse-service.run",
        "version": 1,
        "run": {"run_id": RUN_ID, "elapsed_ms": 50.0, "agents": []},
        "request": {"question": QUESTION},
        "events": events,
        "calls": [*calls],
    }
    return document | changes


def a_recorded_call(agent: str = "llm-1", **changes: Any) -> dict[str, Any]:
    """Return a call that answered in two pieces within 50 ms."""
    pieces = [{"after_ms": 30, "text": "Blue "}, {"after_ms": 10, "text": "👋"}]
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    call = {
        "agent": agent,
        "model": "m",
        "at_ms": 0,
        "took_ms": 50,
        "outcome": "answered",
        "pieces": pieces,
        "finish_reason": "stop",
        "usage": usage,
    }
    return call | changes


def a_failed_call(code: str, agent: str = "llm-1", **failure: Any) -> dict[str, Any]:
    """Return a call that failed with `code` after its pieces."""
    facts = {"code": code, "message": "", **failure}
    return a_recorded_call(agent, outcome="failed", failure=facts, finish_reason="", usage=None)


def a_record(*calls: dict[str, Any], **changes: Any) -> RunRecord:
    """Return the run of `a_document`."""
    return read_document(json.dumps(a_document(*calls, **changes)).encode(), "run.json")
