"""The course of a run on one time axis: a lane for each agent, in order of their start. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.events import AgentHedged, AgentRetrying, Event
from service.events.seams import Seam
from service.pages.runs.wording import format_ms
from service.runs.projections.summary import AgentSummary, RunSummary

_STEPS: Final = (1, 2, 5, 10)
_MAX_TICKS: Final = 6
_EQUAL_MS: Final = 100  # agents that start within it were asked at once


@dataclass(frozen=True, slots=True)
class LaneBar:
    """A stretch of a lane, in ms since the start of the run.

    `kind` is waiting (for the first token), writing or open (still in progress).
    """

    kind: str
    start_ms: float
    end_ms: float


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
    the age of a running run. `events` are empty when they have expired.
    """

    summary: RunSummary
    elapsed_ms: float | None
    ends_ms: Mapping[str, float] = field(default_factory=dict)
    events: Sequence[Event] = ()


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
    start_ms, end_ms = _find_span(course, agent)
    first_ms = None
    if agent.report and agent.report.first_token_ms is not None and not agent.report.reused:
        first_ms = start_ms + agent.report.first_token_ms
    return Lane(
        agent=agent,
        role=_find_role(course.summary, agent),
        start_ms=start_ms,
        first_ms=first_ms,
        end_ms=end_ms,
        bars=_make_bars(course, (start_ms, first_ms, end_ms)),
        steps=_describe_steps(course.events, agent),
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
    course: RunCourse, span: tuple[float, float | None, float | None]
) -> Sequence[LaneBar]:
    start_ms, first_ms, end_ms = span
    if end_ms is None:
        return [LaneBar("open", start_ms, max(start_ms, course.elapsed_ms or start_ms))]
    if first_ms is None:
        return [LaneBar("waiting", start_ms, end_ms)]
    return [LaneBar("waiting", start_ms, first_ms), LaneBar("writing", first_ms, end_ms)]


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


def _describe_steps(events: Sequence[Event], agent: AgentSummary) -> Sequence[str]:
    if not events:
        steps = [_count_retries(agent.retries)] if agent.retries else []
    else:
        steps = [*_list_steps(events, agent.name)]
    if agent.report and agent.report.reused:
        steps.append("The answer is from an earlier run and was not paid again.")
    if agent.code:
        steps.append(f"{agent.message or 'No reason is known.'} ({agent.code})")
    return steps


def _count_retries(count: int) -> str:
    return "1 further attempt." if count == 1 else f"{count} further attempts."


def _list_steps(events: Sequence[Event], name: str) -> Iterator[str]:
    for event in events:
        if isinstance(event, AgentRetrying) and event.agent == name:
            yield (
                f"An attempt failed: {event.message} ({event.code}) {event.model} was called "
                f"after {format_ms(event.delay_ms)}."
            )
        elif isinstance(event, AgentHedged) and event.agent == name:
            yield (
                f"No token after {format_ms(event.waited_ms)}: {event.model} was called a second "
                "time beside the first call (hedge)."
            )
        elif isinstance(event, Seam) and event.agent == name:
            yield (
                f"The text broke off after {event.position} characters ({event.code}); "
                f"{event.model} continued it."
            )


def _list_ticks(total_ms: float) -> Iterator[float]:
    """Yield the marks of an axis: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(total_ms / _MAX_TICKS))
    step = next(power * each for each in _STEPS if total_ms / (power * each) <= _MAX_TICKS)
    for number in range(int(total_ms / step) + 1):
        yield number * step
