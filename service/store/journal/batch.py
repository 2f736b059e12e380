"""The rows that the journal commits in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.store.records import AgentAnswer, NewRun, RunEnd, Segment


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
        rows: list[NewRun | AgentAnswer | Segment | RunEnd] = [
            *self.openings,
            *self.answers,
            *self.segments,
            *self.endings,
        ]
        return list(dict.fromkeys([*(row.run_id for row in rows), *self.dropped]))

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
