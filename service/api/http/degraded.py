"""The fields and the header that mark a degraded or cut off answer, the same on every API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, Protocol

from typing_extensions import TypedDict

from service.domain import DegradedBy, MissingAgent

HEADER = "X-Degraded"


class MissingAgentShown(TypedDict):
    """An agent that failed or was skipped; `code` states why."""

    agent: str
    code: str


class DegradedFields(TypedDict):
    """Present only for a degraded answer: agents, its writer or a judge are missing."""

    degraded: NotRequired[bool]
    degraded_by: NotRequired[list[DegradedBy]]
    missing: NotRequired[list[MissingAgentShown]]


class AnswerMarks(DegradedFields):
    """`finish_reason` is present only for an answer that was cut off."""

    finish_reason: NotRequired[Literal["length", "content_filter"]]


class Degradable(Protocol):
    """An answer, or a record of one, that may be degraded."""

    @property
    def degraded_by(self) -> Sequence[DegradedBy]: ...
    @property
    def missing(self) -> Sequence[MissingAgent]: ...


class Markable(Degradable, Protocol):
    """An answer, or a record of one, that may be degraded or cut off."""

    @property
    def finish_reason(self) -> str | None: ...


def degraded_fields(answer: Degradable) -> dict[str, Any]:
    """Return the DegradedFields of `answer`; empty unless it is degraded."""
    if not answer.degraded_by:
        return {}
    fields: dict[str, Any] = {"degraded": True, "degraded_by": list(answer.degraded_by)}
    if answer.missing:
        missing = [{"agent": each.agent, "code": each.code} for each in answer.missing]
        fields["missing"] = missing
    return fields


def answer_marks(answer: Markable) -> dict[str, Any]:
    """Return the AnswerMarks of `answer`; empty for a complete answer of the intended agents."""
    is_cut_off = answer.finish_reason in ("length", "content_filter")
    cut_off = {"finish_reason": answer.finish_reason} if is_cut_off else {}
    return {**degraded_fields(answer), **cut_off}
