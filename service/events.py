"""What can happen in a run. A run is an append-only log of these.

Events are past facts. They know nothing of the wire: each face encodes them in its own way.
`type` is the name users see; `final` marks the one event that ends a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from service.domain import AgentReport, Usage


class _Fact:
    __slots__ = ()
    type: ClassVar[str]
    final: ClassVar[bool] = False


class _End(_Fact):
    __slots__ = ()
    final = True


@dataclass(frozen=True, slots=True)
class RunStarted(_Fact):
    type: ClassVar[str] = "run.started"

    run_id: str
    trace_id: str
    ensemble: str
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgentStarted(_Fact):
    type: ClassVar[str] = "agent.started"

    agent: str
    model: str


@dataclass(frozen=True, slots=True)
class AgentDelta(_Fact):
    type: ClassVar[str] = "agent.delta"

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentFinished(_Fact):
    type: ClassVar[str] = "agent.finished"

    agent: str
    report: AgentReport


@dataclass(frozen=True, slots=True)
class AgentFailed(_Fact):
    type: ClassVar[str] = "agent.failed"

    agent: str
    code: str
    message: str
    report: AgentReport


@dataclass(frozen=True, slots=True)
class AgentSkipped(_Fact):
    """A straggler was cut off; what it had said by then is used when there is any."""

    type: ClassVar[str] = "agent.skipped"

    agent: str
    code: str
    message: str
    report: AgentReport


@dataclass(frozen=True, slots=True)
class AgentRetrying(_Fact):
    """An attempt failed before its first token; `model` is asked next, after `delay_ms`."""

    type: ClassVar[str] = "agent.retrying"

    agent: str
    code: str
    message: str
    model: str
    attempt: int
    delay_ms: float


@dataclass(frozen=True, slots=True)
class CombineStarted(_Fact):
    type: ClassVar[str] = "combine.started"

    agent: str
    used: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerDelta(_Fact):
    type: ClassVar[str] = "answer.delta"

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class RunFinished(_End):
    type: ClassVar[str] = "run.finished"

    agent: str
    usage: Usage
    cost: float | None
    elapsed_ms: float
    answered_by: str
    degraded: bool = False
    combiner: AgentReport | None = None


@dataclass(frozen=True, slots=True)
class RunFailed(_End):
    """`partial` says whether some answer text was sent before it ended.

    `unfinished` are the agents whose work no earlier event accounts for.
    """

    type: ClassVar[str] = "run.failed"

    agent: str
    code: str
    message: str
    partial: bool
    usage: Usage
    cost: float | None
    elapsed_ms: float
    unfinished: tuple[AgentReport, ...] = ()


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
