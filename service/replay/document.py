"""Exported runs: reads and checks the documents of `GET /api/runs/{id}/export`. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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


class PieceRecord(Struct):
    """A piece of a response, `after_ms` the piece before it. One of the other fields is set."""

    after_ms: Milliseconds = 0.0
    text: str | None = None
    reasoning: str | None = None
    recalled: str | None = None
    tool_call: dict[str, Any] | None = None


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


class RunRecord(Struct):
    """An exported run. `run` is what `GET /api/runs/{id}` shows of it."""

    run: dict[str, Any]
    request: dict[str, Any]
    events: list[EventRecord]
    calls: list[CallRecord]
    ensemble: dict[str, Any] = {}
    prices: dict[str, dict[str, float | None]] = {}

    @property
    def run_id(self) -> str:
        return str(self.run["run_id"])

    @property
    def question(self) -> str:
        """The text of the question."""
        return str(self.request.get("question", ""))


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
    record.run.setdefault("run_id", "")
    known = {call.agent for call in record.calls}
    agents = record.run.get("agents")
    for agent in agents if isinstance(agents, list) else []:
        if isinstance(agent, Mapping) and agent.get("name") not in known and agent.get("model"):
            record.calls.append(_rebuild_call(agent))
    record.calls.sort(key=lambda call: call.at_ms)
    return record


def _rebuild_call(agent: Mapping[str, Any]) -> CallRecord:
    """Return a call whose pace is unknown: words in equal steps from the first token to the end."""
    text = str(agent.get("answer") or "")
    words = re.findall(r"\s*\S+|\s+$", text)
    took_ms = min(1e9, max(0.0, float(agent.get("elapsed_ms") or 0.0)))
    first_ms = min(took_ms, float(agent.get("first_token_ms") or took_ms))
    step_ms = (took_ms - first_ms) / max(1, len(words) - 1)
    pieces = [
        PieceRecord(first_ms if at == 0 else step_ms, text=word) for at, word in enumerate(words)
    ]
    code = agent.get("code")
    usage = agent.get("usage")
    is_failed = agent.get("state") == "failed"
    return CallRecord(
        agent=str(agent["name"]),
        model=str(agent["model"]),
        took_ms=took_ms,
        outcome="failed" if is_failed else "answered",
        pieces=pieces,
        finish_reason=str(agent.get("finish_reason") or "stop"),
        usage=usage if isinstance(usage, dict) else None,
        failure=FailureRecord(str(code), str(agent.get("message") or "")) if is_failed else None,
    )


def list_models(records: Sequence[RunRecord]) -> list[str]:
    """Return the names of all models, each once, in order."""
    return list(dict.fromkeys(call.model for record in records for call in record.calls))
