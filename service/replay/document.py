"""Exported runs: reads and checks the documents of `GET /api/runs/{id}/export`. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

FORMAT = "llm-sse-service.run"
VERSION = 1
MAX_BYTES = 512 * 1024 * 1024

Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]")


class ReplayError(Exception):
    """An exported run that cannot be replayed; the message is one line."""


class ReplayedToolCall(Struct):
    """A part of a call of a tool; parts with one `index` belong together.

    `extra` has fields that only the server knows; those of its `function` are added to the call's.
    """

    index: int = 0
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    extra: dict[str, Any] | None = None


class PieceRecord(Struct):
    """A piece of a response, `after_ms` the piece before it. One of the other fields is set."""

    after_ms: Milliseconds = 0.0
    text: str | None = None
    reasoning: str | None = None
    recalled: str | None = None
    tool_call: ReplayedToolCall | None = None


class FailureRecord(Struct):
    """The failure of a call. `status` is that of the response, None without an error response."""

    code: str
    message: str = ""
    status: Annotated[int, Meta(ge=300, le=599)] | None = None
    reason: str = ""
    codes: list[str] = []
    fields: list[str] = []
    retry_after_s: Annotated[float, Meta(ge=0, le=1e6)] | None = None


class CallRecord(Struct):
    """A call of a model. `at_ms` is its start in the run, `took_ms` the time to its end."""

    agent: str
    model: str
    at_ms: Milliseconds = 0.0
    took_ms: Milliseconds = 0.0
    outcome: str = "answered"
    hedge: bool = False
    pieces: list[PieceRecord] = []
    finish_reason: str = ""
    usage: dict[str, Any] | None = None
    failure: FailureRecord | None = None


class EventRecord(Struct):
    """The data of an event, and its time in the run; None if it is unknown."""

    event: dict[str, Any]
    at_ms: Milliseconds | None = None


class ReplayedAgent(Struct):
    """An agent of an exported run, with the result of its last call."""

    name: str = ""
    model: str | None = None
    state: str = ""
    answer: str | None = None
    elapsed_ms: Milliseconds | None = None
    first_token_ms: Milliseconds | None = None
    usage: dict[str, Any] | None = None
    finish_reason: str | None = None
    code: str | None = None
    message: str | None = None


class ReplayedRun(Struct):
    """The part of `GET /api/runs/{id}` that a replay needs."""

    run_id: str = ""
    elapsed_ms: Milliseconds | None = None
    agents: list[ReplayedAgent] = []


class ReplayedRequest(Struct):
    """The request that started an exported run."""

    question: str = ""


class RunRecord(Struct):
    """An exported run."""

    run: ReplayedRun
    request: ReplayedRequest
    events: list[EventRecord]
    calls: list[CallRecord]
    ensemble: dict[str, Any] = {}
    prices: dict[str, dict[str, float | None]] = {}

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def question(self) -> str:
        """The text of the question."""
        return self.request.question


class _Opening(Struct):
    format: Any = None
    version: Any = None


def read_document(data: bytes, name: str) -> RunRecord:
    """Return the run of a document; `name` is that of its file. Raises ReplayError."""
    shown = _NOT_SHOWN.sub("?", name)[:200]
    if len(data) > MAX_BYTES:
        raise ReplayError(f"{shown}: larger than {MAX_BYTES} bytes.")
    try:
        opening = msgspec.json.decode(data, type=_Opening)
        if opening.format != FORMAT:
            raise ReplayError(f"{shown}: not an exported run (its format is not {FORMAT}).")
        if opening.version != VERSION:
            version = _NOT_SHOWN.sub("?", str(opening.version))[:20]
            raise ReplayError(f"{shown}: version {version} of the format; only {VERSION} is known.")
        record = _complete(msgspec.json.decode(data, type=RunRecord))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = _NOT_SHOWN.sub("?", str(error))[:200]
        raise ReplayError(f"{shown}: not a complete exported run: {reason}.") from error
    if fault := _find_fault(record):
        raise ReplayError(f"{shown}: not a complete exported run: {fault}.")
    return record


def _find_fault(record: RunRecord) -> str:
    if not _RUN_ID.fullmatch(record.run_id):
        return "run.run_id is not an id"
    for at, each in enumerate(record.events):
        if not (isinstance(each.event.get("type"), str) and isinstance(each.event.get("seq"), int)):
            return f"events[{at}].event has no type or no seq"
    if not record.events or not record.events[-1].event.get("final"):
        return "its last event is not the final one"
    return ""


def _complete(record: RunRecord) -> RunRecord:
    """Add calls for agents without one: of an unrecorded run, and of reused answers."""
    known = {call.agent for call in record.calls}
    record.calls += [
        _rebuild_call(agent, agent.model)
        for agent in record.run.agents
        if agent.name not in known and agent.model
    ]
    record.calls.sort(key=lambda call: call.at_ms)
    return record


def _rebuild_call(agent: ReplayedAgent, model: str) -> CallRecord:
    """Return a call whose pace is unknown: words in equal steps from the first token to the end."""
    words = re.findall(r"\s*\S+|\s+$", agent.answer or "")
    took_ms = agent.elapsed_ms or 0.0
    first_ms = min(took_ms, agent.first_token_ms or took_ms)
    step_ms = (took_ms - first_ms) / max(1, len(words) - 1)
    pieces = [
        PieceRecord(first_ms if at == 0 else step_ms, text=word) for at, word in enumerate(words)
    ]
    is_failed = agent.state == "failed"
    failure = FailureRecord(agent.code or "", agent.message or "") if is_failed else None
    return CallRecord(
        agent=agent.name,
        model=model,
        took_ms=took_ms,
        outcome="failed" if is_failed else "answered",
        pieces=pieces,
        finish_reason=agent.finish_reason or "stop",
        usage=agent.usage,
        failure=failure,
    )


def list_models(records: Sequence[RunRecord]) -> list[str]:
    """Return the names of all models, each once, in order."""
    return list(dict.fromkeys(call.model for record in records for call in record.calls))
