"""The moment before a stream begins, in which a failure can still be a status.

Face A has its own events for what happens before the text and begins at once; a face that shows
the text alone waits for it a little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from service.api.http.sse import run_headers
from service.coalescing import CoalescingWindow
from service.errors import RequestError
from service.events import AnswerDelta, AnswerToolCall, RunFailed
from service.runs.log import Reader, RunLog
from service.runs.run import Run

LEAD_S = 1.0

_FAILED_UPSTREAM = 502
_STATUSES: Mapping[str, int] = {
    "run_timeout": 504,
    "upstream_timeout": 504,
    "shutting_down": 503,
    "interrupted": 503,
    "internal_error": 500,
    "cancelled": 409,
    "abandoned": 409,
}


# Asking again would cost the same again and end the same. OpenAI's SDKs ask again of themselves
# after 408, 409, 429 and 5xx, unless this header says otherwise.
_FOR_GOOD = frozenset({"missing_key", "upstream_refused", "cost_cap", "cancelled"})


async def wait_for_first_output(run: Run) -> None:
    """Wait until `run` has some text or has ended, for LEAD_S at most.

    Raises RequestError when it failed without any text.
    """
    reader = Reader(run.log, 0, CoalescingWindow(), LEAD_S)
    try:
        async with asyncio.timeout(LEAD_S):
            while not _is_decided(run.log):
                await reader.take()
    except TimeoutError:
        return
    finally:
        reader.close()
    failure = next((each for each in run.log.after(0) if isinstance(each, RunFailed)), None)
    if failure is not None and not failure.partial:
        raise refusal(run, failure)


def refusal(run: Run, failure: RunFailed) -> RequestError:
    """Return how a response says that `run` failed, with the status of why."""
    status = _STATUSES.get(failure.code, _FAILED_UPSTREAM)
    headers = run_headers(run)
    if status == 503:
        headers["Retry-After"] = "2"
    if failure.code in _FOR_GOOD:
        headers["x-should-retry"] = "false"
    kept = " What it had said by then is kept." if failure.partial else ""
    return RequestError(status, failure.code, failure.message + kept, headers=headers)


def _is_decided(log: RunLog) -> bool:
    return log.over or any(
        isinstance(event, AnswerDelta | AnswerToolCall) for event in log.after(0)
    )
