"""The last batch of a run whose worker has ended: its remaining events and its end. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace as replace_event

from service.events import Event
from service.runs.journal.codec import decode_events, encode_events
from service.runs.journal.spool import Spooled
from service.runs.projections.rows import make_agent_answer, make_final_answers, make_run_end
from service.runs.projections.summary import list_reported, make_run_failed
from service.runs.recovery.late import GAP
from service.runs.stop_reasons import INTERRUPTED
from service.store.budgets.records import Interruption
from service.store.journal.batch import Batch
from service.store.records import Segment, StoredRun


def append_spooled(stored: Sequence[Event], spooled: Sequence[Spooled]) -> list[Event]:
    """Return the stored events and those of the spool that follow them without a gap."""
    events = list(stored)
    for entry in sorted(spooled, key=lambda each: each.first_seq):
        if entry.first_seq > len(events) + 1:
            break
        try:
            decoded = decode_events(entry.line)
        except msgspec.DecodeError:  # a line is incomplete after a power failure
            break
        events += decoded[len(events) + 1 - entry.first_seq :]
    return events


def make_last_batch(
    run: StoredRun,
    stored: Sequence[Event],
    events: Sequence[Event],
    retention: timedelta,
    *,
    is_complete: bool,
) -> Batch:
    """Return the rows of `events` that the database lacks after `stored`, and the end of the run.

    A final event is added when there is none; after a gap unless the events `is_complete`: clients
    can have received others, whose numbers are not given to other events.
    """
    known = [event for event in events if not event.final]
    interruption = None
    final, last_seq = events[-1] if events else None, len(events)
    if final is None or not final.final:
        last_seq = len(known) + 1 + (0 if is_complete else GAP)
        final = make_run_failed(known, INTERRUPTED.code, INTERRUPTED.message)
        if known or not is_complete:  # without an event no model was called
            interruption = Interruption(list_reported(known), is_complete)
        if not is_complete:  # whether a part of the answer was sent is unknown
            final = replace_event(final, partial=True, interrupted_at=len(known))
    interrupted_at = len(known) if last_seq > len(known) + 1 else None
    ending = make_run_end(run.id, run.owner, [*known, final], datetime.now(UTC), retention)
    answers = [make_agent_answer(run.id, run.owner, event) for event in known]
    answers += make_final_answers(run.id, run.owner, final)
    new = known[len(stored) :]
    return Batch(
        answers=[replace(answer, attempt=run.attempt) for answer in answers if answer],
        segments=[
            *([_make_segment(run, len(stored) + 1, new)] if new else []),
            _make_segment(run, last_seq, [final]),
        ],
        endings=[
            replace(
                ending,
                last_seq=last_seq,
                interrupted_at=interrupted_at,
                attempt=run.attempt,
                is_reserved=True,  # perhaps
                interruption=interruption,
            )
        ],
    )


def _make_segment(run: StoredRun, first_seq: int, events: Sequence[Event]) -> Segment:
    return Segment(
        run_id=run.id,
        owner=run.owner,
        first_seq=first_seq,
        last_seq=first_seq + len(events) - 1,
        data=encode_events(events),
        attempt=run.attempt,
    )
