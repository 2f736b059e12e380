"""HTTP/1.0, HTTP/1.1 and HTTP/2 over real sockets."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator

import pytest
from h2.connection import H2Connection
from h2.events import DataReceived, PingAckReceived, ResponseReceived

from tests._support.clients.api import (
    Api,
    answered,
    asking,
    assert_whole,
    client_of,
    connected,
    event_of,
    events_of,
    exchange,
    follow,
    head,
    take_response,
    until,
)
from tests._support.llm.mock_stats import Upstream
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process

BODY = json.dumps(asking()).encode()


async def test_http_1_0_gets_the_stream_unchunked_up_to_the_end_of_file(service: Process) -> None:
    request = (
        b"POST /api/process HTTP/1.0\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    )
    response = answered(await exchange(service.port, request))
    assert response.status == 200
    assert "transfer-encoding" not in response.headers
    assert_whole(events_of(response.body))


async def test_pipelined_requests_are_answered_in_order(service: Process) -> None:
    ask = head(f"Content-Length: {len(BODY)}") + BODY
    health = head(method="GET", path="/health/live")
    last = head("Connection: close", method="GET", path="/nowhere")
    rest = await exchange(service.port, ask + health + ask + last)
    statuses = []
    while rest:
        response, rest = take_response(rest)
        statuses.append(response.status)
        if "x-run-id" in response.headers:
            assert_whole(events_of(response.body))
    assert statuses == [200, 200, 200, 404]


async def test_a_connection_can_be_reused_after_a_stream(service: Process) -> None:
    async with connected(service.port) as (reader, writer):
        for _ in range(3):
            writer.write(head(f"Content-Length: {len(BODY)}") + BODY)
            assert_whole(events_of(answered(await reader.readuntil(b"\r\n0\r\n\r\n")).body))


async def test_a_body_in_chunks_of_one_byte_is_read(service: Process) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    request = head("Connection: close", "Transfer-Encoding: chunked") + chunks
    assert_whole(events_of(answered(await exchange(service.port, request)).body))


async def test_a_client_that_expects_100_continue_gets_it(service: Process) -> None:
    async with connected(service.port) as (reader, writer):
        lines = ("Connection: close", "Expect: 100-continue", f"Content-Length: {len(BODY)}")
        writer.write(head(*lines))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(BODY)
        assert_whole(events_of(answered(await reader.read()).body))


@pytest.mark.parametrize("path", ["/health", "/metrics", "/", "/nowhere"])
async def test_head_has_the_headers_of_get_and_no_body(service: Process, path: str) -> None:
    raw = await exchange(service.port, head("Connection: close", method="HEAD", path=path))
    first, _, body = raw.partition(b"\r\n\r\n")
    assert body == b""
    assert first.startswith(b"HTTP/1.1 404" if path == "/nowhere" else b"HTTP/1.1 200")
    assert b"x-trace-id: " in first.lower()


async def test_head_of_a_runs_events_returns(api: Api) -> None:
    run_id = (await api.ask(ensemble="solo"))[0].run_id
    response = await api.http.head(f"/api/runs/{run_id}/events")
    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.parametrize(
    ("path", "allowed"), [("/api/process", "POST"), ("/api/runs/x", "GET"), ("/health", "GET")]
)
async def test_options_lists_the_allowed_methods(api: Api, path: str, allowed: str) -> None:
    response = await api.http.options(path)
    assert response.status_code == 200
    assert allowed in response.headers["allow"]
    assert response.headers["x-trace-id"]


async def test_an_upgrade_to_h2c_is_ignored(service: Process) -> None:
    upgrade = (
        "Connection: close, Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQ",
    )
    raw = await exchange(service.port, head(*upgrade, method="GET", path="/health/live"))
    assert answered(raw).status == 200
    assert b" 101 " not in raw


@pytest.mark.parametrize("count", [201, 3_000, 12_000])
async def test_a_request_with_too_many_header_lines_receives_431(
    service: Process, count: int
) -> None:
    many = [f"X-{number}: 1" for number in range(count)]
    body = b"{}"
    ahead = head(f"Content-Length: {len(body)}") + body
    for before in (b"", ahead):
        raw = await exchange(service.port, before + head(*many, method="GET", path="/health/live"))
        response = raw[raw.rindex(b"HTTP/1.1 ") :]
        assert response.startswith(b"HTTP/1.1 431 ")
        assert b"connection: close" in response.lower()


async def test_a_request_with_150_header_lines_is_answered(service: Process) -> None:
    many = [f"X-{number}: {'x' * 50}" for number in range(150)]
    lines = ("Connection: close", *many)
    raw = await exchange(service.port, head(*lines, method="GET", path="/health/live"))
    assert answered(raw).status == 200


async def test_an_http_2_request_with_too_many_headers_receives_431(h2: Api) -> None:
    many = [(f"x-{number}", "1") for number in range(201)]
    assert (await h2.http.get("/health/live", headers=many)).status_code == 431
    assert (await h2.http.get("/health/live", headers=many[:150])).status_code == 200


@pytest.mark.parametrize("field", [(":path", "/\u00ff"), (":method", "\u00ff"), ("", "")])
async def test_an_invalid_http_2_request_receives_400_and_others_are_served(
    service: Process, field: tuple[str, str]
) -> None:
    """The last one is CONNECT without a path."""
    valid = {
        ":method": "GET",
        ":path": "/health/live",
        ":scheme": "http",
        ":authority": "localhost",
    }
    name, value = field
    invalid = valid | {name: value} if name else {":method": "CONNECT", ":authority": "localhost"}
    statuses: dict[int | None, bytes | None] = {}
    async with asyncio.timeout(PATIENCE_S), connected(service.port) as (reader, writer):
        protocol = H2Connection()
        protocol.initiate_connection()
        encoded = [(each.encode(), text.encode("latin-1")) for each, text in invalid.items()]
        protocol.send_headers(1, encoded, end_stream=True)
        protocol.send_headers(3, [*valid.items()], end_stream=True)
        writer.write(protocol.data_to_send())
        while len(statuses) < 2:
            for event in protocol.receive_data(await reader.read(65_536)):
                if isinstance(event, ResponseReceived):
                    statuses[event.stream_id] = dict(event.headers)[b":status"]
    assert statuses == {1: b"400", 3: b"200"}


async def test_a_request_with_two_lengths_closes_its_connection(service: Process) -> None:
    lengths = ("Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    # Without `Connection: close` from the client: `exchange` returns when the server closes.
    response = answered(await exchange(service.port, head(*lengths) + chunks))
    assert response.headers["connection"] == "close"
    assert_whole(events_of(response.body))


@pytest.mark.parametrize("path", ["/history", "/api/conversations", "/search?query=x", "/nowhere"])
async def test_responses_with_conversations_are_not_cached(api: Api, path: str) -> None:
    headers = (await api.http.get(path)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


async def test_responses_have_no_server_header(api: Api) -> None:
    assert "server" not in (await api.http.get("/health")).headers


async def test_health_routes_and_the_index_respond(api: Api) -> None:
    health = (await api.http.get("/health")).json()
    assert health["status"] == "ok"
    assert health["version"]
    assert health["checks"]
    assert (await api.http.get("/health/live")).status_code == 200
    assert (await api.http.get("/health/ready")).status_code == 200
    assert "POST /api/process" in (await api.http.get("/")).text


@pytest.fixture
async def h2(service: Process) -> AsyncIterator[Api]:
    """A client that speaks HTTP/2 from its first byte."""
    async with client_of(service.url, http2=True, http1=False) as client:
        yield client


async def test_http_2_streams(h2: Api, upstream: Upstream) -> None:
    async with h2.asked(ensemble="endless-answer") as response:
        assert response.http_version == "HTTP/2"
        assert response.headers["content-type"].startswith("text/event-stream")
        async for event in follow(response):
            if event.type == "answer.delta":
                break
        assert await upstream.open_streams() >= 1
        await h2.http.post(f"/api/runs/{response.headers['x-run-id']}/cancel")


async def test_many_streams_share_one_http_2_connection(h2: Api) -> None:
    answers = await asyncio.gather(*(h2.ask() for _ in range(60)))
    for events in answers:
        assert_whole(events)
    assert len({events[0].run_id for events in answers}) == 60


async def test_a_reset_http_2_stream_counts_as_a_disconnect(
    hasty: Api, impatient: Process, upstream: Upstream
) -> None:
    await until(upstream.quiet)
    headers = [
        *((":method", "POST"), (":path", "/api/process"), (":scheme", "http")),
        *((":authority", "localhost"), ("content-type", "application/json")),
    ]
    async with connected(impatient.port) as (reader, writer):
        protocol = H2Connection()  # httpx never resets a stream it gives up
        protocol.initiate_connection()
        protocol.send_headers(1, headers)
        protocol.send_data(1, json.dumps(asking(ensemble="endless")).encode(), end_stream=True)
        writer.write(protocol.data_to_send())
        received = b""
        while not received.endswith(b"\n\n"):
            for event in protocol.receive_data(await reader.read(65_536)):
                received += event.data if isinstance(event, DataReceived) else b""
        run_id = event_of(received.partition(b"\n\n")[0] + b"\n\n").run_id
        protocol.reset_stream(1)
        writer.write(protocol.data_to_send())
        assert (await hasty.ended(run_id))["code"] == "abandoned"
        protocol.ping(b"12345678")
        writer.write(protocol.data_to_send())
        is_answered = False  # which shows that the connection is still open
        while not is_answered and (block := await reader.read(65_536)):
            replies = protocol.receive_data(block)
            is_answered = any(isinstance(event, PingAckReceived) for event in replies)
        assert is_answered
    await until(upstream.quiet)


async def test_a_thousand_requests_do_not_end_the_streams_of_their_connection(h2: Api) -> None:
    async with h2.asked(ensemble="endless-answer") as response:
        for _ in range(26):
            await asyncio.gather(*(h2.http.get("/health/live") for _ in range(40)))
        run_id = response.headers["x-run-id"]
        await h2.http.post(f"/api/runs/{run_id}/cancel")
        assert_whole([event async for event in follow(response)])


async def test_a_refused_body_does_not_affect_other_streams_of_its_connection(h2: Api) -> None:
    async with h2.asked(ensemble="steady") as other:
        response = await h2.http.post(
            "/api/process",
            content=b"x" * 3_000_000,
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 413
        assert response.json()["code"] == "body_too_large"
        assert_whole([event async for event in follow(other)])


async def test_a_stalled_http_2_stream_is_dropped(hasty: Api, impatient: Process) -> None:
    """Its window is 64 KB, so it fills at once."""

    async def dropped() -> bool:
        return "\nfanout_open_streams 0.0" in (await hasty.http.get("/metrics")).text

    async with (
        client_of(impatient.url, http2=True, http1=False) as h2,
        h2.asked(ensemble="huge") as response,
    ):
        assert response.http_version == "HTTP/2"
        await until(dropped)


def test_curl_speaks_http_2(service: Process) -> None:
    done = subprocess.run(
        [
            *("curl", "-sS", "-N", "--http2-prior-knowledge", f"{service.url}/api/process"),
            *("--json", json.dumps(asking())),
        ],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert_whole(events_of(done.stdout))
