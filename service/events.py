"""What can happen in a run. A run is an append-only log of these.

Events are past facts. They know nothing of the wire: each face encodes them in its own way.
`type` is the name users see, and the tag under which an event is kept; `final` marks the one
event that ends a run.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec.structs import force_setattr

from service.domain import AgentReport, DegradedBy, MissingAgent, ToolCall, Usage


class _Fact(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    # Not dataclasses: thousands are kept, and the garbage collector need not look at any.
    type: ClassVar[str]
    final: ClassVar[bool] = False


class _End(_Fact, frozen=True):
    final: ClassVar[bool] = True


class RunStarted(_Fact, frozen=True, tag="run.started"):
    type: ClassVar[str] = "run.started"

    run_id: str
    trace_id: str
    ensemble: str
    agents: tuple[str, ...]
    span_id: str = ""  # 16 hex digits; not on the wire, for links from later traces


class AgentStarted(_Fact, frozen=True, tag="agent.started"):
    type: ClassVar[str] = "agent.started"

    agent: str
    model: str


class AgentDelta(_Fact, frozen=True, tag="agent.delta"):
    type: ClassVar[str] = "agent.delta"

    agent: str
    text: str


class AgentFinished(_Fact, frozen=True, tag="agent.finished"):
    type: ClassVar[str] = "agent.finished"

    agent: str
    report: AgentReport


class AgentFailed(_Fact, frozen=True, tag="agent.failed"):
    type: ClassVar[str] = "agent.failed"

    agent: str
    code: str
    message: str
    report: AgentReport


class AgentSkipped(_Fact, frozen=True, tag="agent.skipped"):
    """A straggler was cut off; what it had said by then is used when there is any."""

    type: ClassVar[str] = "agent.skipped"

    agent: str
    code: str
    message: str
    report: AgentReport


class AgentRetrying(_Fact, frozen=True, tag="agent.retrying"):
    """An attempt failed before its first token; `model` is asked next, after `delay_ms`."""

    type: ClassVar[str] = "agent.retrying"

    agent: str
    code: str
    message: str
    model: str
    attempt: int
    delay_ms: float


class CombineStarted(_Fact, frozen=True, tag="combine.started"):
    type: ClassVar[str] = "combine.started"

    agent: str
    used: tuple[str, ...]


class AnswerDelta(_Fact, frozen=True, tag="answer.delta"):
    type: ClassVar[str] = "answer.delta"

    agent: str
    text: str


class AnswerToolCall(_Fact, frozen=True, tag="answer.tool_call"):
    """A piece of a call of the caller's functions, which is the answer or a part of it."""

    type: ClassVar[str] = "answer.tool_call"

    agent: str
    call: ToolCall


class RunFinished(_End, frozen=True, tag="run.finished"):
    """The run has an answer. `degraded` events without `degraded_by` come from an older version,
    in which only the combiner could degrade an answer.
    """

    type: ClassVar[str] = "run.finished"

    agent: str
    usage: Usage
    cost: float | None
    elapsed_ms: float
    answered_by: str
    degraded: bool = False
    combiner: AgentReport | None = None
    missing: tuple[MissingAgent, ...] = ()
    degraded_by: tuple[DegradedBy, ...] = ()

    def __post_init__(self) -> None:
        if self.degraded and not self.degraded_by:
            force_setattr(self, "degraded_by", ("combiner",))


class RunFailed(_End, frozen=True, tag="run.failed"):
    """`partial` says whether some answer text was sent before it ended.

    `unfinished` are the agents whose work no earlier event accounts for. `elapsed_ms` is None when
    nobody was there to see the end.
    """

    type: ClassVar[str] = "run.failed"

    agent: str
    code: str
    message: str
    partial: bool
    usage: Usage
    cost: float | None
    elapsed_ms: float | None
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
    | AnswerToolCall
    | RunFinished
    | RunFailed
)
