"""Spans at the end of a service: the drain exports all of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from tests._support.clients.api import Event, assert_whole, client_of, events_of, follow
from tests._support.clients.worker_clients import wait_for_two_workers
from tests._support.otlp import Protocol, Sink, assert_sound
from tests._support.otlp.traces import failed
from tests._support.servers.processes import wait_for_exit
from tests._support.servers.service_log import assert_no_traceback
from tests._support.servers.services import Start
from tests._support.telemetry.span_trees import PROCESS

# So that nothing leaves before the end unless the batch is full.
LAZY = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}


def code_of(events: Sequence[Event]) -> str:
    assert_whole(events)
    return str(events[-1].data.get("code", ""))


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_a_run_that_finishes_during_the_drain_is_exported_completely(
    start: Start, sink: Sink, protocol: Protocol
) -> None:
    service = start(**sink.variables(protocol, **LAZY), DRAIN_S="20")
    async with client_of(service.url) as api, api.asked(ensemble="brief") as response:
        events = follow(response)
        first = await anext(events)
        service.signal(signal.SIGTERM)
        assert code_of([first, *[event async for event in events]]) == ""
    assert await wait_for_exit(service) == 0
    trace = sink.trace(response.headers["x-trace-id"])
    assert_sound(trace)
    assert len(trace.spans) == 13
    assert trace.root.name == PROCESS
    assert trace.span("invoke_workflow brief").attributes["app.outcome"] == "completed"
    assert_no_traceback(service)


async def test_a_run_that_the_drain_ends_is_exported_as_failed(start: Start, sink: Sink) -> None:
    service = start(**sink.variables(**LAZY), DRAIN_S="0.3")
    async with client_of(service.url) as api, api.asked(ensemble="endless-answer") as response:
        service.signal(signal.SIGTERM)
        assert code_of(events_of(await response.aread())) == "shutting_down"
    assert await wait_for_exit(service) == 0
    trace = sink.trace(response.headers["x-trace-id"])
    assert_sound(trace)
    assert len(trace.spans) == 13
    workflow = trace.span("invoke_workflow endless-answer")
    assert workflow.attributes["app.outcome"] in {"cancelled", "failed"}
    combiner = trace.span("invoke_agent endless-combine")
    assert combiner.attributes["app.cancelled"] is True
    assert failed(trace) <= {workflow.name}
    assert_no_traceback(service)


async def test_each_of_two_workers_exports_its_spans(start: Start, sink: Sink) -> None:
    service = start("--workers", "2", **sink.variables(**LAZY), DRAIN_S="0.3")
    workers = await wait_for_two_workers(service)
    async with AsyncExitStack() as stack:
        # A connection each, so that both workers get some.
        clients = [await stack.enter_async_context(client_of(service.url)) for _ in range(8)]
        for api in clients:
            assert_whole(await api.ask(ensemble="solo"))
        streams = [
            await stack.enter_async_context(api.asked(ensemble="endless-answer")) for api in clients
        ]
        service.signal(signal.SIGTERM)
        bodies = await asyncio.gather(*(response.aread() for response in streams))
    assert [code_of(events_of(body)) for body in bodies] == ["shutting_down"] * 8
    assert await wait_for_exit(service) == 0
    for response in streams:
        trace = sink.trace(response.headers["x-trace-id"])
        assert_sound(trace)
        assert len(trace.spans) == 13
    runs = [span for span in sink.spans() if span.name == "invoke_workflow solo"]
    assert len(runs) == 8
    instances = {
        (span.resource["process.pid"], span.resource["service.instance.id"])
        for span in sink.spans()
    }
    assert {pid for pid, _ in instances} <= set(workers)
    assert len({instance for _, instance in instances}) == len({pid for pid, _ in instances})
    assert len(instances) == len({pid for pid, _ in instances})
    assert_no_traceback(service)
