"""The summary of a run, computed from its events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from service.domain import AgentReport, MissingAgent, Usage
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    AnswerDelta,
    CombineStarted,
    Event,
    RunFailed,
    RunFinished,
    RunStarted,
)
from service.runs.projections.summary import RunSummary, summarize

REPORT = AgentReport(
    agent="a",
    model="m",
    text="said",
    usage=Usage(1, 2),
    cost=0.5,
    elapsed_ms=3.0,
    first_token_ms=1.0,
)
STARTED: list[Event] = [RunStarted("run_1", "0" * 32, "fanout", ("a", "b"))]
BOTH: list[Event] = [*STARTED, AgentStarted("a", "m"), AgentStarted("b", "m")]
COMBINING: list[Event] = [
    *BOTH,
    AgentFinished("a", REPORT),
    AgentFinished("b", replace(REPORT, agent="b")),
    CombineStarted("c", ("a", "b")),
]
FINISHED = RunFinished("c", Usage(5, 6), 1.5, 9.0, "c", combiner=replace(REPORT, agent="c"))


def _failed(code: str) -> RunFailed:
    return RunFailed("service", code, "Because.", True, Usage(5, 6), 1.5, 9.0)


def _states(run: RunSummary) -> dict[str, str]:
    return {name: agent.state for name, agent in run.agents.items()}


def test_a_run_without_an_end_is_running() -> None:
    assert summarize(STARTED).state == "running"


def test_a_started_agent_is_running() -> None:
    assert _states(summarize(BOTH)) == {"a": "running", "b": "running"}


def test_an_agent_that_answered_has_its_report() -> None:
    agent = summarize([*BOTH, AgentFinished("a", REPORT)]).agents["a"]
    assert (agent.state, agent.report) == ("answered", REPORT)


def test_an_agent_that_failed_has_its_reason() -> None:
    agent = summarize([*BOTH, AgentFailed("a", "code", "Why.", REPORT)]).agents["a"]
    assert (agent.state, agent.code, agent.message) == ("failed", "code", "Why.")


def test_an_agent_that_was_cut_off_is_skipped() -> None:
    run = summarize([*BOTH, AgentSkipped("a", "straggler", "Late.", REPORT)])
    assert _states(run)["a"] == "skipped"


def test_retries_are_counted() -> None:
    retry = AgentRetrying("a", "code", "Why.", "gpt-4o", 1, 5.0)
    assert summarize([*BOTH, retry, retry]).agents["a"].retries == 2


def test_the_combiner_is_the_last_of_the_agents() -> None:
    assert _states(summarize(COMBINING)) == {"a": "answered", "b": "answered", "c": "running"}


def test_the_answer_is_the_concatenation_of_its_deltas() -> None:
    assert (
        summarize([*COMBINING, AnswerDelta("c", "Hel"), AnswerDelta("c", "lo")]).answer == "Hello"
    )


def test_a_finished_run_is_completed_with_its_usage_and_cost() -> None:
    run = summarize([*COMBINING, FINISHED])
    assert (run.state, run.usage, run.cost, run.elapsed_ms) == ("completed", Usage(5, 6), 1.5, 9.0)
    assert _states(run)["c"] == "answered"


def test_a_combiner_that_was_replaced_stays_failed() -> None:
    failed = AgentFailed("c", "code", "Why.", replace(REPORT, agent="c"))
    run = summarize([*COMBINING, failed, changed(FINISHED, degraded=True, answered_by="a")])
    assert (_states(run)["c"], run.degraded_by, run.answered_by) == ("failed", ("combiner",), "a")


BAD_A = AgentFailed("a", "upstream_failed", "Why.", REPORT)
SKIPPED_B = AgentSkipped("b", "straggler", "Late.", replace(REPORT, agent="b"))
FAILED_C = AgentFailed("c", "upstream_failed", "Why.", replace(REPORT, agent="c"))


@pytest.mark.parametrize(
    ("before", "missing", "reasons"),
    [
        ([BAD_A], {"a": "upstream_failed"}, ("agents",)),
        ([SKIPPED_B], {"b": "straggler"}, ("agents",)),
        ([CombineStarted("c", ("a",)), FAILED_C], {}, ("combiner",)),
        (
            [BAD_A, SKIPPED_B, CombineStarted("c", ()), FAILED_C],
            {"a": "upstream_failed", "b": "straggler"},
            ("agents", "combiner"),
        ),
    ],
)
def test_a_degraded_answer_is_known_from_its_first_text(
    before: list[Event], missing: dict[str, str], reasons: tuple[str, ...]
) -> None:
    assert summarize([*BOTH, *before]).degraded_by == ()
    run = summarize([*BOTH, *before, AnswerDelta("c", "Hel"), AnswerDelta("c", "lo")])
    assert ({each.agent: each.code for each in run.missing}, run.degraded_by) == (missing, reasons)
    assert summarize([*BOTH, *before, AnswerDelta("c", "Hel"), _failed("code")]).degraded_by == ()


def test_the_final_event_states_why_an_answer_is_degraded() -> None:
    missing = (MissingAgent("b", "straggler"),)
    final = changed(FINISHED, degraded=True, missing=missing, degraded_by=("agents", "combiner"))
    run = summarize([*COMBINING, final])
    assert (run.missing, run.degraded_by) == (missing, ("agents", "combiner"))


def test_a_failed_run_has_its_reason_and_its_partial_answer() -> None:
    run = summarize([*COMBINING, AnswerDelta("c", "Hel"), _failed("upstream_failed")])
    assert (run.state, run.code, run.message, run.answer) == (
        "failed",
        "upstream_failed",
        "Because.",
        "Hel",
    )


def test_a_run_stopped_on_purpose_is_cancelled() -> None:
    for code in ("cancelled", "abandoned"):
        assert summarize([*BOTH, _failed(code)]).state == "cancelled"


def test_no_agent_is_running_after_the_end() -> None:
    assert "running" not in _states(summarize([*COMBINING, _failed("run_timeout")])).values()
