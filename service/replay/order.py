"""The recorded call that answers the next request: each agent's calls come in their own order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.replay.document import CallRecord, RunRecord

INSTANCE = "#"  # separates the name of an agent from the number of its copy, or from a task


@dataclass(frozen=True, slots=True)
class ReplayedCall:
    """A recorded call for a request; `late_ms` is the time until the hedge that answered for it."""

    call: CallRecord
    late_ms: float = 0.0


@dataclass(slots=True)
class _Line:
    """The calls of one agent or model, without hedges; `position` is that of the next one."""

    calls: Sequence[ReplayedCall]
    position: int = 0
    answered_until: float = 0.0  # until then a second request is a hedge of the last one


class CallOrder:
    """The position in the calls of a run, for each agent or model and each text of a question.

    After the last call the first one follows. While a call that had a hedge is open, a second
    request is its hedge: both get the response that won.
    """

    def __init__(self, record: RunRecord, clock: Callable[[], float]) -> None:
        self._record = record
        self._clock = clock
        self._lines: dict[tuple[str, str, str], _Line] = {}

    def find(self, agent: str, model: str, text: str) -> ReplayedCall | None:
        """Return the call for a request to `agent`, or to `model` if that is empty.

        `text` is the question of the request: those of several runs do not disturb each other.
        """
        key = agent, "" if agent else model, text
        line = self._lines.get(key) or _Line(self._select(agent, model))
        if not line.calls:
            return None
        if len(self._lines) > _MOST_LINES:
            self._lines.clear()
        self._lines[key] = line
        if self._clock() < line.answered_until:
            return line.calls[line.position - 1]
        found = line.calls[line.position % len(line.calls)]
        line.position = line.position % len(line.calls) + 1
        if found.late_ms:
            line.answered_until = self._clock() + (found.late_ms + _first_ms(found.call)) / 1000
        return found

    def _select(self, agent: str, model: str) -> Sequence[ReplayedCall]:
        calls = [
            call
            for call in self._record.calls
            if (call.agent.partition(INSTANCE)[0] == agent if agent else call.model == model)
        ]
        return [_with_hedge(call, calls) for call in calls if not call.hedge]


_MOST_LINES = 10_000


def _with_hedge(call: CallRecord, calls: Sequence[CallRecord]) -> ReplayedCall:
    """Return the response that the agent received: that of the hedge which won, or its own."""
    ended_ms = call.at_ms + call.took_ms
    if call.outcome == "cancelled" or call.failure:
        for other in calls:
            is_during = call.at_ms <= other.at_ms <= ended_ms
            if (
                other.hedge
                and other.agent == call.agent
                and is_during
                and other.outcome == "answered"
            ):
                return ReplayedCall(other, other.at_ms - call.at_ms)
    return ReplayedCall(call)


def _first_ms(call: CallRecord) -> float:
    return call.pieces[0].after_ms if call.pieces else call.took_ms


def choose_run(records: Mapping[str, RunRecord], texts: Sequence[str], model: str) -> RunRecord:
    """Return the run that a request without an address of its own is for.

    Of the runs with this model it is the one whose question is among `texts`, else the first one.
    """
    fits = [each for each in records.values() if any(call.model == model for call in each.calls)]
    asked = [each for each in fits if is_question(each, texts)]
    return [*asked, *fits, *records.values()][0]


def is_question(record: RunRecord, texts: Sequence[str]) -> bool:
    """Return whether the question of a run is a part of one of `texts`."""
    question = record.question.strip()
    return any(question in text for text in texts)
