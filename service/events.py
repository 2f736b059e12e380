"""What can happen in a run. A run is an append-only log of these.

Events are past facts. They know nothing of the wire: each face encodes them in its own way.
`type` is the name users see; `final` marks the one event that ends a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from service.domain import AgentReport, Usage


@dataclass(frozen=True, slots=True)
class RunStarted:
    type: ClassVar[str] = "run.started"
    final: ClassVar[bool] = False

    run_id: str
    trace_id: str
    ensemble: str
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgentStarted:
    type: ClassVar[str] = "agent.started"
    final: ClassVar[bool] = False

    agent: str
    model: str


@dataclass(frozen=True, slots=True)
class AgentDelta:
    type: ClassVar[str] = "agent.delta"
    final: ClassVar[bool] = False

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentFinished:
    type: ClassVar[str] = "agent.finished"
    final: ClassVar[bool] = False

    agent: str
    report: AgentReport


@dataclass(frozen=True, slots=True)
class AgentFailed:
    type: ClassVar[str] = "agent.failed"
    final: ClassVar[bool] = False

    agent: str
    code: str
    message: str
    report: AgentReport


@dataclass(frozen=True, slots=True)
class AgentSkipped:
    """A straggler was cut off; what it had said by then is used when there is any."""

    type: ClassVar[str] = "agent.skipped"
    final: ClassVar[bool] = False

    agent: str
    code: str
    message: str
    report: AgentReport


@dataclass(frozen=True, slots=True)
class AgentRetrying:
    """An attempt failed before its first token; another follows after `delay_ms`."""

    type: ClassVar[str] = "agent.retrying"
    final: ClassVar[bool] = False

    agent: str
    code: str
    message: str
    attempt: int
    delay_ms: float


@dataclass(frozen=True, slots=True)
class CombineStarted:
    type: ClassVar[str] = "combine.started"
    final: ClassVar[bool] = False

    agent: str
    used: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    type: ClassVar[str] = "answer.delta"
    final: ClassVar[bool] = False

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    type: ClassVar[str] = "run.finished"
    final: ClassVar[bool] = True

    agent: str
    usage: Usage
    cost: float | None
    elapsed_ms: float
    answered_by: str
    degraded: bool = False
    combiner: AgentReport | None = None


@dataclass(frozen=True, slots=True)
class RunFailed:
    """`partial` says whether some answer text was sent before it ended."""

    type: ClassVar[str] = "run.failed"
    final: ClassVar[bool] = True

    agent: str
    code: str
    message: str
    partial: bool
    usage: Usage
    cost: float | None
    elapsed_ms: float


Event = (
    RunStarted
    | AgentStarted
    | AgentDelta
    | AgentFinished
    | AgentFailed
    | AgentSkipped
    | AgentRetrying
    | CombineStarted
    | AnswerDelta
    | RunFinished
    | RunFailed
)
