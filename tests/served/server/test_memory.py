"""Memory after requests of every kind: nothing waits for the garbage collector.

The collector of the service under test is disabled, so that each reference cycle stays in memory
and is found.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests._support.clients.api import Api, asking, client_of, connected, follow, head, until
from tests._support.clients.openai_requests import user
from tests._support.clients.service_state import has_no_streams
from tests._support.clients.stalled_reader import connect_without_reading
from tests._support.garbage import REPORT, request_report
from tests._support.llm.mock_stats import Upstream
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import Told

REQUESTS = 10
# Of libraries, and still small: the search for a route leaves 8, a malformed request 40. A run
# that stays in memory has more than a thousand.
OBJECTS_PER_REQUEST = 60
LIVE_PER_REQUEST = 200  # an idle connection has 60
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER with a time of 0

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
)

Send = Callable[[Api, Process], Awaitable[None]]


@pytest.fixture(scope="module")
def uncollected(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A service without a garbage collector that stops runs as soon as their clients leave."""
    folder = tmp_path_factory.mktemp("uncollected")
    settings = {"DETACH_GRACE_S": "0", "SEND_TIMEOUT_S": "1", "BODY_TIMEOUT_S": "1", REPORT: "1"}
    with run_server(folder, "serve", "--port", "0", **told(folder), **settings) as process:
        yield process


@pytest.fixture
async def client(uncollected: Process) -> AsyncIterator[Api]:
    async with client_of(uncollected.url) as api:
        yield api


# --- connections ---


async def test_a_connection_that_its_client_closed_is_closed_at_once(
    client: Api, uncollected: Process
) -> None:
    def count_files() -> int:
        return len(os.listdir(f"/proc/{uncollected.pid}/fd"))

    await client.http.get("/health")
    before = count_files()
    for _ in range(20):
        async with connected(uncollected.port) as (reader, writer):
            writer.write(head(method="GET", path="/health"))  # may be followed by another request
            await reader.readuntil(b"}")

    async def are_closed() -> bool:
        return count_files() <= before + 2

    # Idle connections are closed after 75 s.
    await until(are_closed, patience_s=40)


# --- requests ---


def question(path: str, body: object, *lines: str) -> bytes:
    content = json.dumps(body).encode()
    return head(*lines, f"Content-Length: {len(content)}", path=path) + content


async def drop(service: Process, request: bytes, events: int, *, reset: bool = False) -> None:
    """Send a request on a connection of its own, read some events, and disconnect."""
    async with connected(service.port) as (reader, writer):
        writer.write(request)
        await writer.drain()
        for _ in range(events):
            await reader.readuntil(b"\n\n")
        if reset:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def dropped(path: str, body: object, events: int, *, reset: bool = False) -> Send:
    async def send(_: Api, service: Process) -> None:
        await drop(service, question(path, body), events, reset=reset)

    return send


def answered(method: str, path: str, status: int, **options: object) -> Send:
    async def send(api: Api, _service: Process) -> None:
        response = await api.http.request(method, path, **options)  # type: ignore[arg-type]
        assert response.status_code == status, response.text

    return send


def asked(ensemble: str) -> Send:
    async def send(api: Api, _service: Process) -> None:
        await api.ask(ensemble=ensemble)

    return send


async def cancel(api: Api, _service: Process) -> None:
    async with api.asked(ensemble="endless-answer") as response:
        events = follow(response)
        for _ in range(10):
            await anext(events)
        path = f"/api/runs/{response.headers['x-run-id']}/cancel"
        assert (await api.http.post(path)).status_code == 200
        async for _ in events:
            pass


async def resume_and_leave(api: Api, _service: Process) -> None:
    async with api.asked(ensemble="endless-answer") as response:
        path = f"/api/runs/{response.headers['x-run-id']}/events"
        for _ in range(3):
            async with api.http.stream("GET", path) as other:
                await anext(follow(other))


async def repeat_with_a_key(api: Api, _service: Process) -> None:
    headers = {"Idempotency-Key": os.urandom(8).hex()}
    for _ in range(2):
        async with api.asked(headers) as response:
            await response.aread()


async def leave_a_socket(_: Api, service: Process) -> None:
    async with aiohttp.ClientSession() as session:
        chat = await session.ws_connect(f"{service.url}/chat")
        await chat.send_json({"messages": [user()], "ensemble": "endless-answer"})
        await chat.receive_json()
        chat._response.close()  # without a close frame


async def close_a_socket(_: Api, service: Process) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{service.url}/chat") as chat,
    ):
        await chat.send_json({"messages": [user()], "ensemble": "endless-answer"})
        await chat.receive_json()


async def stall(_: Api, service: Process) -> None:
    request = question("/api/process", asking(ensemble="huge"))
    async with connect_without_reading(service.port, request, 4_096):
        await asyncio.sleep(3)


async def stall_on_a_socket(_: Api, service: Process) -> None:
    message = json.dumps({"messages": [user()], "ensemble": "huge"}).encode()
    frame = b"\x81" + bytes([0x80 | len(message)]) + bytes(4) + message  # masked with zeros
    request = head(*UPGRADE, method="GET", path="/chat")
    async with connect_without_reading(service.port, request, 4_096) as sock:
        loop = asyncio.get_running_loop()
        assert (await loop.sock_recv(sock, 12)) == b"HTTP/1.1 101"
        await loop.sock_sendall(sock, frame)
        await asyncio.sleep(3)


async def send_garbage(_: Api, service: Process) -> None:
    async with connected(service.port) as (reader, writer):
        writer.write(b"\0\1\2\r\n\r\n")
        await reader.read()


KINDS: dict[str, Send] = {
    "completed": asked("fanout"),
    "abandoned before an event": dropped("/api/process", asking(ensemble="endless"), 0),
    "abandoned after an event": dropped("/api/process", asking(ensemble="endless"), 1),
    "abandoned midway": dropped("/api/process", asking(ensemble="endless-answer"), 20),
    "reset midway": dropped("/api/process", asking(ensemble="endless-answer"), 20, reset=True),
    "cancelled": cancel,
    "failed": asked("both-bad"),
    "failed midway": asked("combiner-cut"),
    "resumed by several readers": resume_and_leave,
    "repeated with an idempotency key": repeat_with_a_key,
    "stalled": stall,
    "WebSocket closed midway": close_a_socket,
    "WebSocket lost midway": leave_a_socket,
    "chat completions closed midway": dropped(
        "/v1/chat/completions", {"model": "endless-answer", "messages": [user()], "stream": True}, 5
    ),
    "responses closed midway": dropped(
        "/v1/responses", {"model": "endless-answer", "input": "Hi", "stream": True}, 5
    ),
    "text stream closed midway": dropped(
        "/stream?stream_format=sse", {"prompt": "Hi", "ensemble": "endless-answer"}, 5
    ),
    "JSON answer not awaited": dropped("/v1/responses", {"model": "endless", "input": "Hi"}, 0),
    "400": answered("POST", "/api/process", 400, json={"message": 1}),
    "404": answered("GET", "/api/runs/run_0", 404),
    "404 without a route": answered("GET", "/nothing", 404),
    "405": answered("PUT", "/api/process", 405),
    "413": answered("POST", "/api/process", 413, json=asking("x" * 300_000)),
    "415": answered("POST", "/api/process", 415, content=b"Hi"),
    "421": answered("GET", "/health", 421, headers={"Host": "other.example"}),
    "WebSocket stalled": stall_on_a_socket,
    "not HTTP": send_garbage,
}


# --- tests ---


async def settle(api: Api, upstream: Upstream) -> None:
    """Wait until no run is open and no client is connected but `api`."""

    async def no_run() -> bool:
        return "\nfanout_inflight_runs 0.0" in (await api.http.get("/metrics")).text

    await until(no_run)
    await until(lambda: has_no_streams(api))
    await until(upstream.quiet)


@pytest.mark.parametrize("send", KINDS.values(), ids=KINDS)
async def test_requests_leave_no_garbage(
    client: Api, uncollected: Process, upstream: Upstream, send: Send
) -> None:
    async def send_all() -> None:
        await asyncio.gather(*(send(client, uncollected) for _ in range(REQUESTS)))
        await settle(client, upstream)

    await send_all()  # fills caches
    before = await request_report(uncollected.pid, uncollected.folder)
    await send_all()
    garbage = await request_report(uncollected.pid, uncollected.folder)
    assert garbage.ours == {}
    assert garbage.counts.total() <= OBJECTS_PER_REQUEST * REQUESTS, garbage.counts
    assert garbage.live - before.live <= LIVE_PER_REQUEST * REQUESTS


def read_memory_bytes(service: Process) -> int:
    pages = Path(f"/proc/{service.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def test_abandoned_runs_do_not_occupy_memory(
    client: Api, uncollected: Process, upstream: Upstream
) -> None:
    abandon = KINDS["abandoned midway"]

    async def abandon_many(batches: int) -> int:
        for _ in range(batches):
            await asyncio.gather(*(abandon(client, uncollected) for _ in range(20)))
        await settle(client, upstream)
        return read_memory_bytes(uncollected)

    before = await abandon_many(5)
    grown = await abandon_many(15) - before
    # With the run in a reference cycle it was 150 KB for each.
    assert grown / 300 <= 40_000
