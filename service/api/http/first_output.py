"""The wait for a run's first output, during which a failure can still become a status.

`/api/process` reports every step in its stream and starts it at once. The APIs that send only the
answer's text wait here for a moment first.
"""

from __future__ import annotations

import asyncio

from service.api.http.errors import run_failure
from service.events import AnswerDelta, AnswerToolCall, RunFailed
from service.runs.log import RunLog
from service.runs.run import Run
from service.runs.runs import Runs

MAX_WAIT_S = 1.0


async def wait_for_first_output(runs: Runs, run: Run) -> None:
    """Wait until `run` has some output or has ended, at most MAX_WAIT_S.

    Raises RequestError when the run failed without any output.
    """
    with runs.attached(run) as reader:
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                while not _has_output_or_end(run.log):
                    await reader.take()
        except TimeoutError:
            return
    failure = next((event for event in run.log.after(0) if isinstance(event, RunFailed)), None)
    if failure is not None and not failure.partial:
        raise run_failure(run, failure)


def _has_output_or_end(log: RunLog) -> bool:
    return log.is_over or any(
        isinstance(event, AnswerDelta | AnswerToolCall) for event in log.after(0)
    )
