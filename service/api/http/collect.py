"""A run's answer in one piece, for faces that do not stream."""

from __future__ import annotations

from service.api.http.first_output import refusal
from service.events import RunFailed
from service.runs.log import Silence
from service.runs.projections.summary import RunRecord, broken_off, record
from service.runs.run import SHUTTING_DOWN, Run
from service.runs.runs import Runs


async def collect_answer(runs: Runs, run: Run) -> RunRecord:
    """Return what became of `run` once it has ended.

    A client that leaves meanwhile is a reader that left: the run goes on for the grace. Raises
    RequestError when the run failed, also after some text; that is kept, and the sentence says so.
    """
    with runs.reading(run) as reader:
        while await reader.take() is not Silence.END:
            pass
    events = run.log.after(0)
    end = events[-1] if events else None
    if isinstance(end, RunFailed):
        raise refusal(run, end)
    if not run.log.finished:  # another process works on it, and this one is told to stop
        raise refusal(run, broken_off(events, SHUTTING_DOWN.code, SHUTTING_DOWN.message))
    return record(events)
