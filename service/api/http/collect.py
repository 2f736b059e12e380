"""A run's complete answer, for the APIs and requests that do not stream."""

from __future__ import annotations

from service.api.http.errors import run_failure
from service.events import RunFailed
from service.runs.log import Silence
from service.runs.projections.summary import RunSummary, make_run_failed, summarize
from service.runs.run import Run
from service.runs.runs import Runs
from service.runs.stop_reasons import SHUTTING_DOWN


async def collect_answer(runs: Runs, run: Run) -> RunSummary:
    """Wait for the end of `run` and return its summary.

    A client that disconnects meanwhile counts as a reader that left: the run continues for the
    grace period. Raises RequestError when the run failed, also after some text; the message then
    states that the text is stored.
    """
    with runs.reading(run) as reader:
        while await reader.take() is not Silence.END:
            pass
    events = run.log.after(0)
    end = events[-1] if events else None
    if isinstance(end, RunFailed):
        raise run_failure(run, end)
    if not run.log.finished:  # the run belongs to another process, and this one is shutting down
        raise run_failure(run, make_run_failed(events, SHUTTING_DOWN.code, SHUTTING_DOWN.message))
    return summarize(events)
