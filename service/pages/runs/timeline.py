"""The course of a run on one time axis: a lane for each agent, in order of their start. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.events import Event
from service.pages.runs.calls import LaneBar, describe_calls, describe_steps, make_call_bars
from service.runs.projections.recording import StoredCall
from service.runs.projections.summary import AgentSummary, RunSummary

_STEPS: Final = (1, 2, 5, 10)
_MAX_TICKS: Final = 6
_EQUAL_MS: Final = 100  # agents that start within it were asked at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One agent's part of a run; times in ms since the start of the run, None if unknown.

    `role` is agent, combiner or judge; `steps` are its further attempts, hedges and continuations
    as sentences.
    """

    agent: AgentSummary
    role: str
    start_ms: float
    first_ms: float | None
    end_ms: float | None
    bars: Sequence[LaneBar] = ()
    steps: Sequence[str] = ()
    is_slowest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The lanes of a run; the axis reaches from 0 to `total_ms` and has marks at `ticks_ms`."""

    lanes: Sequence[Lane] = ()
    total_ms: float = 1.0
    ticks_ms: Sequence[float] = ()

    def percent(self, moment_ms: float) -> float:
        """Return the place of a moment on the axis in percent, with two digits."""
        return round(100 * min(max(moment_ms / self.total_ms, 0.0), 1.0), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCourse:
    """The facts that a timeline is made of.

    `ends_ms` are the known moments, in ms since the start, at which agents ended; `elapsed_ms` is
    the age of a running run. `events` are empty when they have expired. `calls` are those of the
    recording, which only a run that has ended in its own process has.
    """

    summary: RunSummary
    elapsed_ms: float | None
    ends_ms: Mapping[str, float] = field(default_factory=dict)
    events: Sequence[Event] = ()
    calls: Sequence[StoredCall] = ()


def make_timeline(course: RunCourse) -> Timeline:
    """Return the timeline of a run.

    An agent's report has the durations of its call alone: its start is its end less its duration.
    """
    agents = course.summary.agents.values()
    slowest = _find_slowest(course.summary)
    lanes = [_make_lane(course, agent, is_slowest=agent.name == slowest) for agent in agents]
    lanes.sort(key=lambda lane: (lane.role != "agent", lane.start_ms // _EQUAL_MS))
    ends = [bar.end_ms for lane in lanes for bar in lane.bars]
    total_ms = max([course.elapsed_ms or 0.0, *ends, 1.0])
    return Timeline(lanes=lanes, total_ms=total_ms, ticks_ms=[*_list_ticks(total_ms)])


def _make_lane(course: RunCourse, agent: AgentSummary, *, is_slowest: bool) -> Lane:
    calls = [each for each in course.calls if each.agent == agent.name]
    start_ms, end_ms = _find_span(course, agent)
    start_ms = min((float(each.at) for each in calls), default=start_ms)
    first_ms = None
    if agent.report and agent.report.first_token_ms is not None and not agent.report.reused:
        first_ms = start_ms + agent.report.first_token_ms
    recorded = [bar for each in calls for bar in make_call_bars(each)]
    steps = describe_calls(calls) if len(calls) > 1 else ()
    return Lane(
        agent=agent,
        role=_find_role(course.summary, agent),
        start_ms=start_ms,
        first_ms=first_ms,
        end_ms=end_ms,
        bars=recorded or _make_bars(course, agent, (start_ms, first_ms, end_ms)),
        steps=[*steps, *describe_steps(course.events, agent)],
        is_slowest=is_slowest,
    )


def _find_span(course: RunCourse, agent: AgentSummary) -> tuple[float, float | None]:
    """Return the start and the end of an agent; None as the end of a running one."""
    if agent.report is None:
        return _guess_start(course, agent), None
    duration_ms = 0.0 if agent.report.reused else agent.report.elapsed_ms
    end_ms = course.ends_ms.get(agent.name)
    if end_ms is None:
        start_ms = _guess_start(course, agent)
        return start_ms, start_ms + duration_ms
    return max(0.0, end_ms - duration_ms), max(end_ms, duration_ms)


def _guess_start(course: RunCourse, agent: AgentSummary) -> float:
    """Return the start of an agent without a known end: the combiner starts after all others."""
    if agent.name != course.summary.combiner:
        return 0.0
    others = (end_ms for name, end_ms in course.ends_ms.items() if name != agent.name)
    return max(others, default=0.0)


def _make_bars(
    course: RunCourse, agent: AgentSummary, span: tuple[float, float | None, float | None]
) -> Sequence[LaneBar]:
    """Return the bars of an agent without recorded calls."""
    start_ms, first_ms, end_ms = span
    is_failed = agent.state == "failed"
    if end_ms is None:
        return [LaneBar("open", start_ms, max(start_ms, course.elapsed_ms or start_ms))]
    if first_ms is None:
        return [LaneBar("waiting", start_ms, end_ms, is_failed=is_failed)]
    return [
        LaneBar("waiting", start_ms, first_ms, is_failed=is_failed),
        LaneBar("writing", first_ms, end_ms, is_failed=is_failed),
    ]


def _find_role(run: RunSummary, agent: AgentSummary) -> str:
    if agent.name == run.combiner:
        return "combiner"
    return "agent" if not run.asked or agent.name in run.asked else "judge"


def _find_slowest(run: RunSummary) -> str | None:
    """Return the agent that took longest, without the combiner; None if there is no choice."""
    times = {
        agent.name: agent.report.elapsed_ms
        for agent in run.agents.values()
        if agent.report and not agent.report.reused and _find_role(run, agent) == "agent"
    }
    return max(times, key=lambda name: times[name]) if len(times) > 1 else None


def _list_ticks(total_ms: float) -> Iterator[float]:
    """Yield the marks of an axis: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(total_ms / _MAX_TICKS))
    step = next(power * each for each in _STEPS if total_ms / (power * each) <= _MAX_TICKS)
    for number in range(int(total_ms / step) + 1):
        yield number * step
