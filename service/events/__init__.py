"""The events of a run. A run is an append-only log of them.

Events are past facts, independent of the wire: each API encodes them in its own way. `type` is
the name that clients see, and the tag under which an event is stored; `final` marks the one
event that ends a run.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec.structs import force_setattr

from service.domain import AgentReport, DegradedBy, MissingAgent, ToolCall, Usage
from service.events.fact import Fact, FinalFact
from service.events.findings import Finding
from service.events.seams import Seam


class RunStarted(Fact, frozen=True, tag="run.started"):
    """The question is stored; `agents` are the ensemble's, without the combiner."""

    type: ClassVar[str] = "run.started"

    run_id: str
    trace_id: str
    ensemble: str
    agents: tuple[str, ...]
    span_id: str = ""  # 16 hex digits; not on the wire, for links from later traces


class AgentStarted(Fact, frozen=True, tag="agent.started"):
    """An agent is called, first with `model`."""

    type: ClassVar[str] = "agent.started"

    agent: str
    model: str


class AgentDelta(Fact, frozen=True, tag="agent.delta"):
    """The next piece of an agent's text; only in runs with `stream_agents`."""

    type: ClassVar[str] = "agent.delta"

    agent: str
    text: str


class AgentReasoning(Fact, frozen=True, tag="agent.reasoning"):
    """The next piece of an agent's reasoning; only in runs that request the reasoning of all."""

    type: ClassVar[str] = "agent.reasoning"

    agent: str
    text: str


class AgentFinished(Fact, frozen=True, tag="agent.finished"):
    """An agent, not the combiner, has answered."""

    type: ClassVar[str] = "agent.finished"

    agent: str
    report: AgentReport


class AgentFailed(Fact, frozen=True, tag="agent.failed"):
    """An agent, or the combiner, failed after all its attempts and fallback models."""

    type: ClassVar[str] = "agent.failed"

    agent: str
    code: str
    message: str
    report: AgentReport


class AgentSkipped(Fact, frozen=True, tag="agent.skipped"):
    """An agent was cut off; its text so far is used if there is any."""

    type: ClassVar[str] = "agent.skipped"

    agent: str
    code: str
    message: str
    report: AgentReport


class AgentRetrying(Fact, frozen=True, tag="agent.retrying"):
    """An attempt failed before its first token; `model` is called next, after `delay_ms`."""

    type: ClassVar[str] = "agent.retrying"

    agent: str
    code: str
    message: str
    model: str
    attempt: int
    delay_ms: float


class AgentHedged(Fact, frozen=True, tag="agent.hedged"):
    """A call had sent no token for `waited_ms`, and `model` is called a second time beside it."""

    type: ClassVar[str] = "agent.hedged"

    agent: str
    model: str
    waited_ms: float


class CombineStarted(Fact, frozen=True, tag="combine.started"):
    """The combiner, `agent`, is called with the answers of the agents in `used`."""

    type: ClassVar[str] = "combine.started"

    agent: str
    used: tuple[str, ...]


class AnswerDelta(Fact, frozen=True, tag="answer.delta"):
    """The next piece of the answer's text."""

    type: ClassVar[str] = "answer.delta"

    agent: str
    text: str


class AnswerReasoning(Fact, frozen=True, tag="answer.reasoning"):
    """The next piece of the reasoning for the answer; only in runs that request it."""

    type: ClassVar[str] = "answer.reasoning"

    agent: str
    text: str


class AnswerReset(Fact, frozen=True, tag="answer.reset"):
    """The text of the answer so far was reasoning: the answer starts again."""

    type: ClassVar[str] = "answer.reset"

    agent: str


class AnswerToolCall(Fact, frozen=True, tag="answer.tool_call"):
    """A piece of a call of the client's functions; the call is a part of the answer."""

    type: ClassVar[str] = "answer.tool_call"

    agent: str
    call: ToolCall


class RunFinished(FinalFact, frozen=True, tag="run.finished"):
    """The run has an answer; `combiner` is the combiner's report, also when it failed.

    `finish_reason` is OpenAI's: with `length` and `content_filter` the answer was cut off. Events
    of an older version have none.

    In events of an older version `degraded` has no reasons: only the combiner could cause it.
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
    finish_reason: str = ""

    def __post_init__(self) -> None:
        if self.degraded and not self.degraded_by:
            force_setattr(self, "degraded_by", ("combiner",))


class RunFailed(FinalFact, frozen=True, tag="run.failed"):
    """The run ended without a complete answer; `partial`: some of its text was sent.

    `unfinished` are the reports of agents without an event of their end. `elapsed_ms` is None when
    the time of the end is unknown. `should_retry` and `retry_after_s` advise a client that repeats
    the question; None: nothing is known, as in events of an older version. `interrupted_at` is the
    number of the last event that was known when the run was ended, if there is a gap between them.
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
    should_retry: bool | None = None
    retry_after_s: float | None = None
    interrupted_at: int | None = None


Event = (
    RunStarted
    | AgentStarted
    | AgentDelta
    | AgentReasoning
    | AgentFinished
    | AgentFailed
    | AgentSkipped
    | AgentRetrying
    | AgentHedged
    | CombineStarted
    | AnswerDelta
    | AnswerReasoning
    | AnswerReset
    | AnswerToolCall
    | Finding
    | Seam
    | RunFinished
    | RunFailed
)
