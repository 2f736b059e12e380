"""The event stream of a stored run: the bytes that a client of `/api/process` had received."""

from __future__ import annotations

import json
from collections.abc import Iterator

from service.mock_llm.wire import STREAM_HEADERS, Plan, Step
from service.replay.document import RunRecord


def list_steps(record: RunRecord, speed: float) -> Iterator[Step]:
    """Yield the events with the seconds before each; with speed 0 there are no waits.

    Events without a time are spread evenly over the time of the run.
    """
    elapsed_ms = record.run.elapsed_ms or 0.0
    step_ms = elapsed_ms / max(1, len(record.events) - 1)
    before_ms = 0.0
    for number, each in enumerate(record.events):
        at_ms = number * step_ms if each.at_ms is None else each.at_ms
        delay_s = max(0.0, at_ms - before_ms) / 1000 / speed if speed else 0.0
        before_ms = max(before_ms, at_ms)
        data = json.dumps(each.event)  # ASCII, as the service writes it
        yield Step(delay_s, f"id: {record.run_id}-{each.event['seq']}\ndata: {data}\n\n".encode())


def plan_stream(record: RunRecord, speed: float) -> Plan:
    """Return the response of `/api/process`."""
    headers = (
        *STREAM_HEADERS,
        ("x-run-id", record.run_id),
        ("access-control-allow-origin", "*"),  # for a page under development
    )
    return Plan(200, headers, [*list_steps(record, speed)])
