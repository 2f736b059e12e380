"""The rows that the journal commits in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.domain import ToolCall
from service.store.budgets.records import BudgetGrant, BudgetShortage
from service.store.records import AgentAnswer, KeyConflict, NewRun, RunEnd, Segment

RunRow = AgentAnswer | Segment | RunEnd

Opened = KeyConflict | BudgetShortage | BudgetGrant | None
"""The result for a new run. A conflict and a shortage are refusals; None: nothing was reserved."""


@dataclass(slots=True)
class Batch:
    """Rows of several runs that are committed in one transaction; writing it twice is harmless.

    `dropped` are the ids of runs that were committed after their callers had stopped waiting.
    """

    openings: list[NewRun] = field(default_factory=list)
    answers: list[AgentAnswer] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    endings: list[RunEnd] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def __add__(self, later: Batch) -> Batch:
        """Return a batch that writes this one, then `later`."""
        return Batch(
            openings=self.openings + later.openings,
            answers=self.answers + later.answers,
            segments=self.segments + later.segments,
            endings=self.endings + later.endings,
            dropped=self.dropped + later.dropped,
        )

    @property
    def is_empty(self) -> bool:
        return not self.run_ids

    @property
    def run_ids(self) -> list[str]:
        """The ids of all runs in the batch, each once, in order."""
        rows: list[NewRun | RunRow] = [*self.openings, *self.rows]
        return list(dict.fromkeys([*(row.run_id for row in rows), *self.dropped]))

    @property
    def rows(self) -> list[RunRow]:
        """The rows of runs that were opened before."""
        return [*self.answers, *self.segments, *self.endings]

    @staticmethod
    def of_rows(rows: Sequence[RunRow]) -> Batch:
        """Return a batch of `rows`."""
        return Batch(
            answers=[row for row in rows if isinstance(row, AgentAnswer)],
            segments=[row for row in rows if isinstance(row, Segment)],
            endings=[row for row in rows if isinstance(row, RunEnd)],
        )

    @property
    def reserving_run_ids(self) -> list[str]:
        """The ids of the runs that reserve from budgets, or that may have a reservation."""
        opened = [each.run_id for each in self.openings if each.demands]
        ended = [each.run_id for each in self.endings if each.is_reserved or each.interruption]
        return [*opened, *ended, *self.dropped]

    @property
    def event_count(self) -> int:
        return sum(each.last_seq - each.first_seq + 1 for each in self.segments)

    def of_run(self, run_id: str) -> Batch:
        """Return the part of the batch that belongs to one run."""
        return Batch(
            openings=[each for each in self.openings if each.run_id == run_id],
            answers=[each for each in self.answers if each.run_id == run_id],
            segments=[each for each in self.segments if each.run_id == run_id],
            endings=[each for each in self.endings if each.run_id == run_id],
            dropped=[each for each in self.dropped if each == run_id],
        )


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a commit: refusals of new runs, by run id, and the runs with a new worker.

    `budgets` are the reservations of new runs. Rows of a `fenced` run were refused: another worker
    has taken it over.
    """

    conflicts: Mapping[str, KeyConflict] = field(default_factory=dict)
    fenced: frozenset[str] = frozenset()
    budgets: Mapping[str, BudgetGrant | BudgetShortage] = field(default_factory=dict)

    def get_result(self, run_id: str) -> Opened:
        """Return the result for a new run."""
        return self.conflicts.get(run_id) or self.budgets.get(run_id)


@dataclass(frozen=True, slots=True)
class LateEvents:
    """Events that are added to the gap of an ended run, with the answer that they complete."""

    segment: Segment
    answer: str
    tool_calls: Sequence[ToolCall] = ()
    answers: Sequence[AgentAnswer] = ()
