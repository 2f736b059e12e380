"""Stored runs with long texts: as long as a request and an answer may be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from service.domain import Usage
from service.events import AnswerDelta, Event, RunFinished, RunStarted
from service.runs.journal.codec import encode_events
from service.store.database import Database
from service.store.journal.batch import Batch
from service.store.journal.writer import JournalWriter
from service.store.records import Segment
from tests._support.runs.store_records import make_run, make_run_end

OWNER = "anonymous"
QUESTIONS = 150
QUESTION_CHARS = 248_000
CONVERSATION = "conv-long"
TURNS = 1_000
TURN_CHARS = 10_000
ANSWER_CHARS = 4_000_000
_EVENTS = 20_000
_EVENTS_A_SEGMENT = 1_000

# Words in a fixed irregular order, so that texts differ and every word occurs often.
_WORDS = (
    "lorem", "ipsum", "dolor", "sit", "amet", "adipiscing", "elit", "gravity", "tide", "moon",
)  # fmt: skip
_TEXT = " ".join(_WORDS[number * number % 101 % len(_WORDS)] for number in range(800_000))


@dataclass(frozen=True)
class LongRuns:
    """The ids of stored runs that a test reads one by one."""

    with_events: str


def store_long_runs(url: str) -> LongRuns:
    """Store the runs of `QUESTIONS`, a long conversation, and a run with a long answer."""
    with ThreadPoolExecutor(1) as threads:  # the current thread may run a loop
        return threads.submit(lambda: asyncio.run(_store(url))).result()


async def _store(url: str) -> LongRuns:
    database = Database(url, timeout_s=60)
    writer = JournalWriter(database)
    for number in range(QUESTIONS):
        question = f"Question {number}: {_TEXT[number : number + QUESTION_CHARS]}"
        await writer.write(_make_batch(question, "A short answer.", None))
    for number in range(TURNS):
        text = _TEXT[number : number + TURN_CHARS]
        await writer.write(_make_batch(f"Turn {number}: {text}", text, CONVERSATION))
    batch = _make_batch("A question with a long answer", _TEXT[:ANSWER_CHARS], None)
    run_id = batch.openings[0].run_id
    events = _make_events(run_id)
    batch.segments = _make_segments(run_id, events)
    expire_at = datetime.now(UTC) + timedelta(days=1)
    batch.endings = [replace(batch.endings[0], last_seq=len(events), events_expire_at=expire_at)]
    await writer.write(batch)
    await database.close()
    return LongRuns(run_id)


def _make_batch(question: str, answer: str, conversation: str | None) -> Batch:
    run = make_run(question, owner=OWNER, conversation=conversation)
    return Batch(openings=[run], endings=[make_run_end(run, answer=answer)])


def _make_events(run_id: str) -> Sequence[Event]:
    size = ANSWER_CHARS // _EVENTS
    texts = (_TEXT[start : start + size] for start in range(0, ANSWER_CHARS, size))
    return [
        RunStarted(run_id=run_id, trace_id="", ensemble="fanout", agents=("one",)),
        *(AnswerDelta(agent="joiner", text=text) for text in texts),
        RunFinished(agent="joiner", usage=Usage(), cost=None, elapsed_ms=1.0, answered_by="joiner"),
    ]


def _make_segments(run_id: str, events: Sequence[Event]) -> list[Segment]:
    starts = range(0, len(events), _EVENTS_A_SEGMENT)
    parts = [(start + 1, events[start : start + _EVENTS_A_SEGMENT]) for start in starts]
    return [
        Segment(
            run_id=run_id,
            owner=OWNER,
            first_seq=first,
            last_seq=first + len(part) - 1,
            data=encode_events(part),
        )
        for first, part in parts
    ]
