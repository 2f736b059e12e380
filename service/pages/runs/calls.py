"""The calls of models by one agent: bars for a timeline, and sentences. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.events import AgentHedged, AgentRetrying, Event
from service.events.seams import Seam
from service.pages.runs.wording import format_ms
from service.runs.projections.recording import StoredCall, list_pieces
from service.runs.projections.summary import AgentSummary


@dataclass(frozen=True, slots=True)
class LaneBar:
    """A stretch of a lane, in ms since the start of the run.

    `kind` is waiting (for the first token), writing or open (still in progress).
    """

    kind: str
    start_ms: float
    end_ms: float
    is_hedge: bool = False
    is_failed: bool = False


def make_call_bars(call: StoredCall) -> Iterator[LaneBar]:
    """Yield the bars of a recorded call: until its first piece, and from there to its end."""
    is_failed = call.failure is not None
    end_ms = call.at + call.took
    first_ms = end_ms
    if call.times:
        first_ms = min(end_ms, call.at + next(list_pieces(call)).after_ms)
    yield LaneBar("waiting", call.at, first_ms, call.is_hedge, is_failed)
    if first_ms < end_ms:
        yield LaneBar("writing", first_ms, end_ms, call.is_hedge, is_failed)


def describe_calls(calls: Sequence[StoredCall]) -> Sequence[str]:
    """Return each recorded call as a sentence: its model, its times and its end."""
    return [
        f"{'Second call (hedge)' if call.is_hedge else 'Call'} of {call.model} from "
        f"{format_ms(call.at)} to {format_ms(call.at + call.took)}: {_describe_end(call)}."
        for call in calls
    ]


def _describe_end(call: StoredCall) -> str:
    if call.failure:
        return f"failed ({call.failure.code})"
    return "answered" if call.finish else "stopped"


def describe_steps(events: Sequence[Event], agent: AgentSummary) -> Sequence[str]:
    """Return the retries, hedges, continuations and the failure of an agent as sentences."""
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
