"""Clients that disconnect, return or stall; the detach grace is GRACE_S."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import AsyncExitStack
from functools import partial

from tests._support.clients.api import (
    Api,
    assert_whole,
    connected,
    events_of,
    follow,
    head,
    posting,
    take_response,
    until,
)
from tests._support.clients.service_state import has_no_streams
from tests._support.clients.stalled_reader import connect_without_reading
from tests._support.llm.mock_stats import Upstream
from tests._support.servers.processes import Process
from tests._support.servers.services import GRACE_S


async def run_id_of(sock: socket.socket) -> str:
    """Read just the head of a response and return the run it started."""
    loop, received = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in received:
        received += await loop.sock_recv(sock, 1)
    return take_response(received + b"0\r\n\r\n")[0].headers["x-run-id"]


def body_of(ensemble: str) -> bytes:
    return b'{"message": "Hi", "message_id": "1", "ensemble": "%b"}' % ensemble.encode()


async def test_a_run_continues_for_the_grace_and_then_its_upstream_calls_are_closed(
    hasty: Api, upstream: Upstream
) -> None:
    await until(upstream.quiet)
    before = await upstream.closed_early()
    run_id = await hasty.started(ensemble="endless")
    assert (await hasty.shown(run_id))["state"] == "running"
    assert await upstream.closed_early() == before
    shown = await hasty.ended(run_id)
    assert shown["state"] == "cancelled"
    assert shown["code"] == "abandoned"
    assert shown["elapsed_ms"] >= GRACE_S * 1000
    await until(upstream.quiet)
    assert await upstream.closed_early() - before == 2


async def test_a_short_run_finishes_after_its_client_disconnected(hasty: Api) -> None:
    run_id = await hasty.started()
    shown = await hasty.ended(run_id)
    assert shown["state"] == "completed"
    assert_whole(await hasty.replayed(run_id))


async def test_a_client_that_returns_within_the_grace_keeps_the_run_alive(hasty: Api) -> None:
    run_id = await hasty.started(ensemble="steady")  # takes longer than the grace
    events = await hasty.replayed(run_id, "?starting_after=1")
    assert_whole(events, after=1)
    assert events[-1].data["status"] == "Completed"


async def test_each_disconnect_restarts_the_grace(hasty: Api) -> None:
    run_id = await hasty.started(ensemble="endless-answer")
    for _ in range(4):
        await asyncio.sleep(GRACE_S * 0.4)
        async with hasty.http.stream("GET", f"/api/runs/{run_id}/events") as response:
            await anext(follow(response))
    assert (await hasty.shown(run_id))["state"] == "running"
    assert (await hasty.ended(run_id))["code"] == "abandoned"


async def test_a_run_with_another_reader_is_unaffected_by_a_disconnect(hasty: Api) -> None:
    async with hasty.asked(ensemble="steady") as response:
        run_id = response.headers["x-run-id"]
        async with hasty.http.stream("GET", f"/api/runs/{run_id}/events") as other:
            await anext(follow(other))
        events = [event async for event in follow(response)]
    assert events[-1].data["status"] == "Completed"


async def test_a_reset_connection_counts_as_a_disconnect(
    hasty: Api, impatient: Process, upstream: Upstream
) -> None:
    async with connect_without_reading(impatient.port, posting(body_of("endless"))) as sock:
        run_id = await run_id_of(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert (await hasty.ended(run_id))["code"] == "abandoned"
    await until(upstream.quiet)


async def test_the_run_of_a_client_that_disconnects_at_once_ends(
    hasty: Api, impatient: Process, upstream: Upstream
) -> None:
    for _ in range(20):
        async with connected(impatient.port) as (_, writer):
            writer.write(posting(body_of("endless")))
            await writer.drain()

    async def nothing_left() -> bool:
        page = (await hasty.http.get("/metrics")).text
        left = ("fanout_inflight_runs", "fanout_open_streams")
        return all(f"\n{name} 0.0" in page for name in left) and await upstream.quiet()

    await until(nothing_left)


async def test_open_streams_and_disconnects_are_counted(hasty: Api) -> None:
    async def metric(name: str) -> float:
        page = (await hasty.http.get("/metrics")).text
        (line,) = [each for each in page.splitlines() if each.startswith(f"{name} ")]
        return float(line.split()[1])

    before = await metric("fanout_client_disconnects_total")
    async with hasty.asked(ensemble="endless"):
        assert await metric("fanout_open_streams") >= 1

    async def closed() -> bool:
        return await metric("fanout_open_streams") == 0

    await until(closed)
    assert await metric("fanout_client_disconnects_total") == before + 1


async def test_a_stalled_reader_does_not_slow_its_run_and_is_dropped(
    hasty: Api, impatient: Process
) -> None:
    live = await hasty.ask(ensemble="huge")
    request = head(method="GET", path=f"/api/runs/{live[0].run_id}/events")
    async with connect_without_reading(impatient.port, request) as sock:
        async with hasty.asked(ensemble="steady") as response:
            path = f"/api/runs/{response.headers['x-run-id']}/events"
            async with connect_without_reading(impatient.port, head(method="GET", path=path)):
                assert_whole([event async for event in follow(response)])
        await until(partial(has_no_streams, hasty))
        received = b""
        with contextlib.suppress(ConnectionError):
            while block := await asyncio.get_running_loop().sock_recv(sock, 2**20):
                received += block
    assert received.startswith(b"HTTP/1.1 200 ")
    assert not received.endswith(b"0\r\n\r\n"), "a cut answer looks like a whole one"


async def test_a_slow_reader_receives_everything(hasty: Api, impatient: Process) -> None:
    live = await hasty.ask(ensemble="huge")
    path = f"/api/runs/{live[0].run_id}/events"
    loop, received = asyncio.get_running_loop(), bytearray()
    request = head("Connection: close", method="GET", path=path)
    async with connect_without_reading(impatient.port, request) as sock:
        started = loop.time()
        while block := await loop.sock_recv(sock, 32_768):
            received += block
            # Longer than two send time-outs in all.
            await asyncio.sleep(0.02 if loop.time() < started + 4.5 else 0)
    assert events_of(take_response(bytes(received))[0].body) == live


async def test_fifty_stalled_readers_do_not_stop_other_users(
    hasty: Api, impatient: Process
) -> None:
    live = await hasty.ask(ensemble="huge")
    request = head(method="GET", path=f"/api/runs/{live[0].run_id}/events")
    async with AsyncExitStack() as stack:
        for _ in range(50):
            await stack.enter_async_context(connect_without_reading(impatient.port, request))
        for _ in range(3):
            assert_whole(await hasty.ask())
        assert (await hasty.http.get("/health")).status_code == 200
        await until(partial(has_no_streams, hasty))


async def test_a_disconnect_is_noticed_behind_a_pipelined_request(
    hasty: Api, impatient: Process, upstream: Upstream
) -> None:
    await until(upstream.quiet)
    body = body_of("endless")
    request = head(f"Content-Length: {len(body)}") + body
    async with connected(impatient.port) as (reader, writer):
        writer.write(request + head(method="GET", path="/health"))
        await reader.readuntil(b"agent.started")
        await until(upstream.busy)
    await until(upstream.quiet)
