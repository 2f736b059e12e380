"""One sample of every event type."""

from __future__ import annotations

from service.domain import AgentReport, MissingAgent, ToolCall, Usage
from service.events import (
    AgentDelta,
    AgentFailed,
    AgentFinished,
    AgentHedged,
    AgentReasoning,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    AnswerDelta,
    AnswerReasoning,
    AnswerReset,
    AnswerToolCall,
    CombineStarted,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.events.findings import (
    AnalysisFinished,
    Dissent,
    GateDecided,
    ProvenanceFinished,
    ProvenancePart,
    RankedAgent,
    RankingFinished,
    VoteFinished,
    VoteGroup,
)
from service.events.seams import AgentContinued, AnswerContinued

REPORT = AgentReport(
    agent="a",
    model="m",
    text="said",
    usage=Usage(1, 2),
    cost=None,
    elapsed_ms=1.0,
    first_token_ms=None,
)
SAMPLES: list[Event] = [
    RunStarted("run_1", "0" * 32, "fanout", ("a",)),
    AgentStarted("a", "m"),
    AgentDelta("a", "text"),
    AgentReasoning("a", "thought"),
    AgentFinished("a", REPORT),
    AgentFailed("a", "code", "Why.", REPORT),
    AgentSkipped("a", "code", "Why.", REPORT),
    AgentRetrying("a", "code", "Why.", "gpt-4o", 1, 2.0),
    AgentHedged("a", "gpt-4o", 250.5),
    CombineStarted("c", ("a",)),
    AnswerDelta("c", "text"),
    AnswerReasoning("c", "thought"),
    AnswerReset("c"),
    AnswerToolCall("c", ToolCall(0, "call_1", "weather", '{"city": "Oslo"}')),
    AnalysisFinished("c", {"consensus": ["It is blue."], "contradictions": []}),
    VoteFinished((VoteGroup("42", ("a",), 1.0),), 1.0),
    RankingFinished((RankedAgent("a", 1.0),)),
    GateDecided("single", 0.9, "The answers agree.", 0.001),
    ProvenanceFinished("c", (ProvenancePart("text", 0, 4, ("a",)),), (Dissent("a", "It is red."),)),
    AgentContinued("a", "code", "Why.", "gpt-4o", 4),
    AnswerContinued("c", "code", "Why.", "gpt-4o", 4),
    RunFinished(
        "c",
        Usage(1, 2),
        None,
        3.0,
        "a",
        degraded=True,
        missing=(MissingAgent("a", "code"),),
        degraded_by=("agents", "combiner"),
        finish_reason="length",
    ),
    RunFailed("c", "code", "Why.", False, Usage(1, 2), None, 3.0),
]
