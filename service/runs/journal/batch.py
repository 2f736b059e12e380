"""Batches put together and taken apart, and where they go."""

from __future__ import annotations

from typing import Protocol

from service.store.records import AgentAnswer, Batch, KeyConflict, NewRun, RunEnd, Segment
from telemetry import StoreOperation, Workflow
from telemetry.spans.store import StoreOperationName


class Tables(Protocol):
    """Where batches go; `service.store` has it."""

    async def write(self, batch: Batch) -> dict[str, KeyConflict]: ...
    def operation(
        self, name: StoreOperationName, parent: Workflow | None = None
    ) -> StoreOperation: ...


def is_empty(batch: Batch) -> bool:
    return not (batch.openings or batch.answers or batch.segments or batch.endings or batch.dropped)


def together(first: Batch, second: Batch) -> Batch:
    """Return a batch that writes `first`, then `second`."""
    return Batch(
        openings=first.openings + second.openings,
        answers=first.answers + second.answers,
        segments=first.segments + second.segments,
        endings=first.endings + second.endings,
        dropped=first.dropped + second.dropped,
    )


def of_run(batch: Batch, run_id: str) -> Batch:
    """Return what of `batch` belongs to one run."""
    return Batch(
        openings=[each for each in batch.openings if each.run_id == run_id],
        answers=[each for each in batch.answers if each.run_id == run_id],
        segments=[each for each in batch.segments if each.run_id == run_id],
        endings=[each for each in batch.endings if each.run_id == run_id],
        dropped=[each for each in batch.dropped if each == run_id],
    )


def runs_of(batch: Batch) -> list[str]:
    """Return the ids of the runs that `batch` writes of, each once, in order."""
    rows: list[NewRun | AgentAnswer | Segment | RunEnd] = [
        *batch.openings,
        *batch.answers,
        *batch.segments,
        *batch.endings,
    ]
    return list(dict.fromkeys([*(row.run_id for row in rows), *batch.dropped]))


def events_in(batch: Batch) -> int:
    """Return how many events `batch` holds."""
    return sum(each.last_seq - each.first_seq + 1 for each in batch.segments)
