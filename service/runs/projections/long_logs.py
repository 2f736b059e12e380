"""The summary of a run whose log may be long, without blocking the event loop."""

from __future__ import annotations

import asyncio

from service.runs.log import RunLog
from service.runs.projections.summary import RunSummary, summarize

_MANY_EVENTS = 5_000  # take a few milliseconds


async def summarize_log(log: RunLog) -> RunSummary:
    """Return the state of a run after the events that its log has now."""
    events = log.after(0)
    if len(events) < _MANY_EVENTS:
        return summarize(events)
    return await asyncio.to_thread(summarize, events)
