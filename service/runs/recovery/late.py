"""Late events: those that a worker delivered before another one took its runs over.

The other worker, which could not read them, left a gap in the numbers before its final event. They
are added to the gap, so that each number has one content for all clients.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.events import Event
from service.runs.journal.codec import encode_events
from service.runs.projections.rows import make_agent_answer
from service.runs.projections.summary import summarize
from service.store.journal.batch import LateEvents
from service.store.journal.writer import JournalWriter
from service.store.records import FIRST_ATTEMPT, Segment, StoredRun

# The distance of the final event's number from that of the last stored event. A process appends
# fewer events to one run between its last commit and the takeover: at 20,000 a second, more than a
# processor core can parse, for 50 s, where a takeover happens 20 s after the last heartbeat.
GAP = 1_000_000


async def add_late_events(writer: JournalWriter, run: StoredRun, events: Sequence[Event]) -> bool:
    """Add to an ended run those of `events` that belong into its gap; return False to try again.

    `events` are all of its first attempt, from number 1. A final event among them is left out: the
    run has one. Raises StorageUnavailable.
    """
    if run.interrupted_at is None or run.events_expired:
        return True
    known = [event for event in events[: run.last_seq - 1] if not event.final]
    new = known[run.interrupted_at :]
    if not new:
        return True
    segment = Segment(
        run_id=run.id,
        owner=run.owner,
        first_seq=run.interrupted_at + 1,
        last_seq=len(known),
        data=encode_events(new),
        attempt=FIRST_ATTEMPT,
    )
    so_far = summarize(known)
    answers = (make_agent_answer(run.id, run.owner, event) for event in new)
    late = LateEvents(
        segment, so_far.answer, so_far.tool_calls, [answer for answer in answers if answer]
    )
    return await writer.add_late(late)
