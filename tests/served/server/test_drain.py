"""The drain after a stop signal: open streams end, new runs are refused, the exit code is 0."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest

from tests._support.clients.api import (
    asking,
    assert_whole,
    client_of,
    connected,
    events_of,
    follow,
    head,
    take_response,
    until,
)
from tests._support.clients.service_state import is_draining
from tests._support.clients.stalled_reader import connect_without_reading
from tests._support.llm.mock_stats import Upstream
from tests._support.servers.processes import wait_for_exit
from tests._support.servers.services import Start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_fifty_open_streams_each_get_their_final_event_and_a_clean_end(
    start: Start, upstream: Upstream, number: signal.Signals
) -> None:
    service = start(DRAIN_S="0.3")
    async with client_of(service.url) as api, AsyncExitStack() as stack:
        open_streams = [
            await stack.enter_async_context(api.asked(ensemble="endless-answer")) for _ in range(50)
        ]
        service.signal(number)
        # An end of file before the last chunk would raise here.
        bodies = await asyncio.gather(*(response.aread() for response in open_streams))
    for body in bodies:
        events = events_of(body)
        assert_whole(events)
        assert events[-1].data["status"] == "error"
        assert events[-1].data["code"] == "shutting_down"
        assert events[-1].data["message"].endswith(".")
    assert await wait_for_exit(service) == 0
    assert "Traceback" not in service.err
    await until(upstream.quiet)


async def test_a_drain_refuses_new_runs_and_finishes_open_streams(start: Start) -> None:
    service = start(DRAIN_S="20")
    async with client_of(service.url) as api, api.asked(ensemble="brief") as response:
        events = follow(response)
        first = await anext(events)
        service.signal(signal.SIGTERM)
        await until(lambda: is_draining(api))

        ready = await api.http.get("/health/ready")
        assert ready.json()["code"] == "draining"
        assert int(ready.headers["retry-after"]) > 0

        refused = await api.http.post("/api/process", json=asking())
        assert refused.status_code == 503
        assert refused.json()["code"] == "draining"
        assert int(refused.headers["retry-after"]) > 0

        assert (await api.http.get("/health/live")).status_code == 200
        health = await api.http.get("/health")
        assert health.status_code == 200
        assert health.json()["status"] == "degraded"

        assert (await api.shown(first.run_id))["state"] == "running"
        resumed = await api.replayed(first.run_id, "?starting_after=1")
        rest = [event async for event in events]
        assert rest == resumed
        assert_whole([first, *rest])
        assert rest[-1].data["status"] == "Completed"
    assert await wait_for_exit(service) == 0


async def test_a_second_signal_ends_the_process_at_once(start: Start) -> None:
    service = start(DRAIN_S="100")
    async with client_of(service.url) as api, api.asked(ensemble="endless"):
        service.signal(signal.SIGTERM)
        await until(lambda: is_draining(api))
        await asyncio.sleep(0.2)  # in the same moment it would be an echo of the first
        service.signal(signal.SIGTERM)
        assert await wait_for_exit(service) != 0


async def test_a_duplicate_of_a_signal_does_not_count_as_a_second_one(start: Start) -> None:
    service = start(DRAIN_S="20")
    async with client_of(service.url) as api, api.asked(ensemble="brief") as response:
        service.signal(signal.SIGTERM)
        service.signal(signal.SIGINT)  # two of one kind could reach it as one
        events = events_of(await response.aread())
    assert events[-1].data["status"] == "Completed"
    assert await wait_for_exit(service) == 0


async def test_idle_and_slow_clients_do_not_delay_the_exit(start: Start) -> None:
    service = start(DRAIN_S="20")
    halves = (b"", b"GET /", head(method="GET", path="/health"), head("Content-Length: 9"))
    async with AsyncExitStack() as stack:
        for request in halves:
            _, writer = await stack.enter_async_context(connected(service.port))
            writer.write(request)
        async with client_of(service.url) as api:
            assert_whole(await api.ask())
            service.signal(signal.SIGTERM)
            assert await wait_for_exit(service) == 0


async def test_a_stalled_client_does_not_delay_the_exit(start: Start) -> None:
    service = start(DRAIN_S="0.2")
    async with client_of(service.url) as api:
        live = await api.ask(ensemble="huge")
        path = f"/api/runs/{live[0].run_id}/events"
        async with connect_without_reading(service.port, head(method="GET", path=path)):
            started = asyncio.get_running_loop().time()
            service.signal(signal.SIGTERM)
            assert await wait_for_exit(service) == 0, service.err
    # Else it is the kernel that gives the client up, after 20 s.
    assert asyncio.get_running_loop().time() - started < 18


async def test_a_disconnected_client_does_not_delay_the_exit(start: Start) -> None:
    service = start(DRAIN_S="0.2")
    async with client_of(service.url) as api:
        await api.started(ensemble="hung")
        service.signal(signal.SIGTERM)
        assert await wait_for_exit(service) == 0


async def test_http_1_0_streams_get_their_final_event_too(start: Start) -> None:
    service = start(DRAIN_S="0.2")
    body = b'{"message": "Hi", "message_id": "1", "ensemble": "endless"}'
    async with connected(service.port) as (reader, writer):
        writer.write(
            b"POST /api/process HTTP/1.0\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        start_ = await reader.readuntil(b"agent.started")
        service.signal(signal.SIGTERM)
        events = events_of(take_response(start_ + await reader.read())[0].body)
    assert events[-1].data["code"] == "shutting_down"
    assert await wait_for_exit(service) == 0


async def test_http_2_streams_get_their_final_event_too(start: Start) -> None:
    service = start(DRAIN_S="0.2")
    async with (
        client_of(service.url, http2=True, http1=False) as h2,
        h2.asked(ensemble="endless") as one,
        h2.asked(ensemble="endless-answer") as other,
    ):
        service.signal(signal.SIGTERM)
        for response in (one, other):
            assert_whole(events_of(await response.aread()))
    assert await wait_for_exit(service) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sighup_rereads_the_ensembles_file_and_ends_nothing(
    start: Start, workers: str
) -> None:
    service = start("--workers", workers)
    async with client_of(service.url) as api, api.asked(ensemble="brief") as response:
        service.signal(signal.SIGHUP)

        async def reread() -> bool:
            return service.err.count("the ensembles file was read again") >= int(workers)

        await until(reread)
        events = events_of(await response.aread())
        assert events[-1].data["type"] == "run.finished"
        assert (await api.http.get("/health/ready")).status_code == 200
