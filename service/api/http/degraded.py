"""The fields and the header that mark a degraded answer, the same on every API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, Protocol

from typing_extensions import TypedDict

from service.domain import DegradedBy, MissingAgent

HEADER = "X-Degraded"


class MissingAgentShown(TypedDict):
    """An agent that failed or was skipped; `code` states why."""

    agent: str
    code: str


class DegradedFields(TypedDict):
    """Present only for a degraded answer: agents are missing, or a substitute wrote it."""

    degraded: NotRequired[bool]
    degraded_by: NotRequired[list[DegradedBy]]
    missing: NotRequired[list[MissingAgentShown]]


class Degradable(Protocol):
    """An answer, or a record of one, that may be degraded."""

    @property
    def degraded_by(self) -> Sequence[DegradedBy]: ...
    @property
    def missing(self) -> Sequence[MissingAgent]: ...


def degraded_fields(answer: Degradable) -> dict[str, Any]:
    """Return the DegradedFields of `answer`; empty unless it is degraded."""
    if not answer.degraded_by:
        return {}
    fields: dict[str, Any] = {"degraded": True, "degraded_by": list(answer.degraded_by)}
    if answer.missing:
        missing = [{"agent": each.agent, "code": each.code} for each in answer.missing]
        fields["missing"] = missing
    return fields
