"""The course of a run on one time axis."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest

from service.domain import AgentReport, Usage
from service.events import (
    AgentFailed,
    AgentFinished,
    AgentHedged,
    AgentRetrying,
    AgentStarted,
    CombineStarted,
    Event,
    RunStarted,
)
from service.events.seams import AgentContinued
from service.pages.runs.timeline import Lane, RunCourse, Timeline, make_timeline
from service.runs.projections.recording import CallFailure, StoredCall
from service.runs.projections.summary import summarize
from service.strategies.calls.recorder import TEXT

_STARTED = RunStarted("run", "trace", "fanout", ("a", "b"))


def _report(agent: str, elapsed_ms: float = 100, first_ms: float | None = 20) -> AgentReport:
    return AgentReport(
        agent=agent,
        model="model",
        text="text",
        usage=Usage(1, 2),
        cost=0.5,
        elapsed_ms=elapsed_ms,
        first_token_ms=first_ms,
    )


def _finish(agent: str, elapsed_ms: float = 100) -> list[Event]:
    started = AgentStarted(agent, "model")
    return [started, AgentFinished(agent, _report(agent, elapsed_ms))]


def _timeline(*events: Event, elapsed_ms: float = 500, **ends_ms: float) -> Timeline:
    course = RunCourse(
        summary=summarize([_STARTED, *events]),
        elapsed_ms=elapsed_ms,
        ends_ms=ends_ms,
        events=events,
    )
    return make_timeline(course)


def _lane(timeline: Timeline, agent: str) -> Lane:
    (lane,) = [each for each in timeline.lanes if each.agent.name == agent]
    return lane


def test_an_agent_that_started_late_is_placed_by_the_moment_of_its_end() -> None:
    lane = _lane(_timeline(*_finish("a"), *_finish("b"), a=110.0, b=400.0), "b")
    assert (lane.start_ms, lane.first_ms, lane.end_ms) == (300, 320, 400)
    assert [(bar.kind, bar.start_ms, bar.end_ms) for bar in lane.bars] == [
        ("waiting", 300, 320),
        ("writing", 320, 400),
    ]


def test_the_combiner_is_last_and_a_running_one_starts_after_the_agents() -> None:
    events = [*_finish("a"), *_finish("b"), CombineStarted("c", ("a", "b"))]
    timeline = _timeline(*events, a=110.0, b=200.0)
    assert [lane.agent.name for lane in timeline.lanes] == ["a", "b", "c"]
    lane = timeline.lanes[-1]
    assert (lane.role, lane.start_ms, lane.end_ms) == ("combiner", 200, None)
    assert [(bar.kind, bar.end_ms) for bar in lane.bars] == [("open", 500)]


def test_the_slowest_agent_is_named_but_not_the_combiner() -> None:
    events = [*_finish("a", 100), *_finish("b", 300), CombineStarted("c", ("a", "b"))]
    timeline = _timeline(*events, *_finish("c", 900)[1:], a=100.0, b=300.0, c=1200.0)
    assert [lane.agent.name for lane in timeline.lanes if lane.is_slowest] == ["b"]


def test_attempts_hedges_seams_and_the_failure_are_stated_in_order() -> None:
    lane = _lane(
        _timeline(
            AgentStarted("a", "model"),
            AgentRetrying("a", "upstream_busy", "It is busy.", "other", 1, 250),
            AgentHedged("a", "second", 800),
            AgentContinued("a", "upstream_incomplete", "It broke off.", "third", 12),
            AgentRetrying("b", "upstream_busy", "Not of this agent.", "other", 1, 250),
            AgentFailed("a", "upstream_timeout", "It took too long.", _report("a")),
        ),
        "a",
    )
    found = "\n".join(lane.steps)
    expected = ["It is busy.", "after 250 ms", "second", "12 characters", "It took too long."]
    assert [found.index(each) for each in expected] == sorted(map(found.index, expected))
    assert "Not of this agent" not in found


def test_recorded_calls_place_attempts_and_hedges_where_they_were() -> None:
    times, sizes = array("f", [0.03]).tobytes(), array("I", [4 + TEXT]).tobytes()
    calls = [
        StoredCall("a", "m", 10, 40, failure=CallFailure("upstream_busy", "It is busy.")),
        StoredCall("a", "m", 100, 90, times=times, sizes=sizes, text="x", finish="stop"),
        StoredCall("a", "n", 120, 50, is_hedge=True),
        StoredCall("b", "m", 5, 5),
    ]
    course = RunCourse(
        summary=summarize([_STARTED, *_finish("a")]),
        elapsed_ms=500,
        ends_ms={"a": 190},
        calls=calls,
    )
    (lane,) = make_timeline(course).lanes
    assert [(bar.kind, bar.start_ms, bar.end_ms) for bar in lane.bars] == [
        ("waiting", 10, 50),
        ("waiting", 100, 130),
        ("writing", 130, 190),
        ("waiting", 120, 170),
    ]
    assert [bar.is_failed for bar in lane.bars] == [True, False, False, False]
    assert [bar.is_hedge for bar in lane.bars] == [False, False, False, True]
    assert lane.start_ms == 10
    assert [step.rpartition(": ")[2] for step in lane.steps] == [
        "failed (upstream_busy).",
        "answered.",
        "stopped.",
    ]


def test_a_reused_answer_takes_no_time_on_the_axis() -> None:
    reused = replace(_report("a", 9_000), reused=True)
    timeline = _timeline(AgentStarted("a", "model"), AgentFinished("a", reused), a=3.0)
    lane = _lane(timeline, "a")
    assert (lane.start_ms, lane.end_ms, lane.first_ms) == (3, 3, None)
    assert timeline.total_ms == 500
    assert "was not paid again" in lane.steps[0]


def test_an_end_before_the_start_by_another_clock_stays_on_the_axis() -> None:
    lane = _lane(_timeline(*_finish("a"), a=-5_000.0), "a")
    assert (lane.start_ms, lane.end_ms) == (0, 100)


@pytest.mark.parametrize("total_ms", [1, 7, 99, 1_000, 4_620, 61_000, 900_000])
def test_the_axis_has_a_few_marks_within_its_length(total_ms: float) -> None:
    ticks = _timeline(elapsed_ms=total_ms).ticks_ms
    assert 2 <= len(ticks) <= 7
    assert ticks[0] == 0
    assert ticks[-1] <= total_ms


def test_a_run_without_agents_has_an_empty_timeline() -> None:
    assert make_timeline(RunCourse(summary=summarize([]), elapsed_ms=None)).lanes == []
