"""Conversion of runs and agents' answers between rows and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import msgspec
from sqlalchemy import Row

from service.conversation import Branch
from service.domain import (
    AgentReport,
    DegradedBy,
    Message,
    MissingAgent,
    ReasoningEvents,
    RequestOptions,
    Role,
    ToolCall,
    Usage,
)
from service.messages import encode_question
from service.store.column_types import replace_unstorable
from service.store.records import AgentAnswer, NewRun, RunEnd, StoredRun
from service.store.schema import agent_answers, runs
from service.store.search.words import encode_text

_PLAIN = (
    "id", "owner", "conversation_id", "message_id", "state", "question", "answer", "ensemble",
    "config_hash", "trace_id", "worker_id", "stream_agents", "max_tokens", "timeout_s",
    "created_at", "ended_at", "elapsed_ms", "cost_usd", "answered_by", "finish_reason", "code",
    "error", "retry_of", "superseded_by", "last_seq", "events_expired",
    "attempt", "interrupted_at",
)  # fmt: skip
_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "usage_estimated": "estimated",
}
# The columns that `decode_run` reads.
DEGRADATION_COLUMNS = (runs.c.degraded, runs.c.degraded_by, runs.c.missing)
RUN_COLUMNS = (
    *(runs.c[name] for name in (*_PLAIN, *_USAGE, "whole", "particulars", "tool_calls")),
    *DEGRADATION_COLUMNS,
)
ANSWER_COLUMNS = tuple(agent_answers.columns)
# Without reasoning, which is stored with the events and expires with them.
_REPORT = tuple(field.name for field in fields(AgentReport) if field.name != "reasoning")


def decode_run(row: Row[Any]) -> StoredRun:
    """Return the run of a row that has at least RUN_COLUMNS."""
    usage = Usage(**{field: getattr(row, column) for column, field in _USAGE.items()})
    return StoredRun(
        **{name: getattr(row, name) for name in _PLAIN},
        usage=usage,
        raw=row.whole,
        **_read_particulars(row.particulars),
        tool_calls=decode_tool_calls(row.tool_calls),
        missing=decode_missing(row),
        degraded_by=decode_degraded_by(row),
    )


def decode_missing(row: Row[Any]) -> Sequence[MissingAgent]:
    """Return the missing agents of a row that has DEGRADATION_COLUMNS."""
    return msgspec.json.decode(row.missing, type=tuple[MissingAgent, ...]) if row.missing else ()


def decode_degraded_by(row: Row[Any]) -> Sequence[DegradedBy]:
    """Return why the answer of a row with DEGRADATION_COLUMNS is degraded.

    Before migration 0005 a row had no reasons, and only the combiner could degrade an answer.
    """
    if row.degraded_by:
        return msgspec.json.decode(row.degraded_by, type=tuple[DegradedBy, ...])
    return ("combiner",) if row.degraded else ()


def decode_tool_calls(column: str | None) -> Sequence[ToolCall]:
    """Return the tool calls of the column `tool_calls`."""
    return msgspec.json.decode(column, type=tuple[ToolCall, ...]) if column else ()


class _StoredMessage(msgspec.Struct):
    role: Role
    content: str
    whole: str | None = None  # `Message.raw`


class _Particulars(msgspec.Struct):
    """JSON of the column `particulars`. The names of its keys are part of the stored data."""

    options: dict[str, Any] = {}
    instructions: str = ""
    echo: dict[str, Any] = {}
    background: bool = False
    reasoning: ReasoningEvents | msgspec.UnsetType = msgspec.UNSET
    preceding: tuple[_StoredMessage, ...] = ()
    follows: str = ""


_NO_PARTICULARS = _Particulars()


def read_preceding(column: str | None) -> Sequence[Message]:
    """Return the messages between the earlier turns and the question of a row."""
    return _messages(_decode_particulars(column))


def _read_particulars(column: str | None) -> dict[str, Any]:
    """Return the fields of StoredRun that the column `particulars` holds."""
    stored = _decode_particulars(column)
    options = RequestOptions(
        parameters=stored.options,
        instructions=stored.instructions,
        echo=stored.echo,
        background=stored.background,
        reasoning="none" if stored.reasoning is msgspec.UNSET else stored.reasoning,
    )
    return {"options": options, "preceding": _messages(stored), "follows": stored.follows}


def _decode_particulars(column: str | None) -> _Particulars:
    return msgspec.json.decode(column, type=_Particulars) if column else _NO_PARTICULARS


def _messages(stored: _Particulars) -> Sequence[Message]:
    return tuple(Message(each.role, each.content, each.whole) for each in stored.preceding)


def _encode_particulars(opening: NewRun) -> str | None:
    options, history = opening.ask.options, opening.ask.history
    preceding = (_StoredMessage(each.role, each.content, each.raw) for each in opening.preceding)
    stored = _Particulars(
        options=dict(options.parameters),
        instructions=options.instructions,
        echo=dict(options.echo),
        background=options.background,
        reasoning=msgspec.UNSET if options.reasoning == "none" else options.reasoning,
        preceding=tuple(preceding),
        follows=history.after if isinstance(history, Branch) else "",
    )
    return None if stored == _NO_PARTICULARS else _json(stored)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def encode_list(values: Sequence[Any]) -> str | None:
    """Return a column with a JSON array, NULL for an empty one."""
    return _json(values) if values else None


def encode_run(opening: NewRun) -> Mapping[str, Any]:
    """Return the row of a new run."""
    ask = opening.ask
    return {
        "id": opening.run_id,
        "owner": ask.owner,
        "conversation_id": ask.conversation_id,
        "message_id": ask.message_id,
        "state": "running",
        "question": ask.question,
        "question_words": encode_text(ask.question),
        "whole": encode_question(ask.messages[-1]),
        "particulars": _encode_particulars(opening),
        "answer": "",
        "ensemble": opening.ensemble,
        "config_hash": opening.config_hash,
        "trace_id": opening.trace_id,
        "worker_id": opening.worker_id,
        "stream_agents": ask.stream_agents,
        "max_tokens": ask.max_tokens,
        "timeout_s": ask.timeout_s,
        "created_at": opening.created_at,
        "retry_of": opening.retry_of,
        "degraded": False,
        "last_seq": 0,
        "events_expired": False,
        "key_id": ask.principal.key_id,
        "attempt": 1,
        **_usage_row(Usage()),
    }


_ENDED_LISTS = ("degraded_by", "missing", "tool_calls")
_ENDED_PLAIN = ("answered_by", "finish_reason", "code", "error", "findings", "recording")


def encode_run_end(ending: RunEnd) -> Mapping[str, Any]:
    """Return the changed columns of an ended run; `run` and `of_owner` identify it."""
    return {
        "run": ending.run_id,
        "of_owner": ending.owner,
        "state": ending.state,
        "answer": ending.answer,
        "answer_words": encode_text(ending.answer),
        "cost_usd": ending.cost_usd,
        "elapsed_ms": ending.elapsed_ms,
        "ended_at": ending.ended_at,
        "last_seq": ending.last_seq,
        "interrupted_at": ending.interrupted_at,
        "events_expire_at": ending.events_expire_at,
        "degraded": bool(ending.degraded_by),
        **{name: encode_list(getattr(ending, name)) for name in _ENDED_LISTS},
        **{name: getattr(ending, name) for name in _ENDED_PLAIN},
        **_usage_row(ending.usage),
    }


def _usage_row(usage: Usage) -> Mapping[str, Any]:
    return {column: getattr(usage, field) for column, field in _USAGE.items()}


def encode_agent_answer(answer: AgentAnswer) -> Mapping[str, Any]:
    """Return the row of an agent's answer."""
    return {
        "run_id": answer.run_id,
        "agent": answer.agent,
        "owner": answer.owner,
        "state": answer.state,
        "code": answer.code,
        "error": answer.error,
        "report": _report_bytes(answer.report),
        "config_hash": answer.config_hash,
        "created_at": answer.created_at,
    }


def decode_agent_answer(row: Row[Any]) -> AgentAnswer:
    """Return the answer of a row that has ANSWER_COLUMNS."""
    values = {column.name: getattr(row, column.name) for column in ANSWER_COLUMNS}
    values["report"] = msgspec.json.decode(row.report, type=AgentReport)
    return AgentAnswer(**values)


def _report_bytes(report: AgentReport) -> bytes:
    values = ((name, getattr(report, name)) for name in _REPORT)
    return msgspec.json.encode(
        {
            name: replace_unstorable(value) if isinstance(value, str) else value
            for name, value in values
        }
    )
