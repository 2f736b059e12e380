"""Chat on a WebSocket, with aiohttp's client over a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests._support.clients.api import Api, client_of, connected, head, until
from tests._support.clients.service_state import has_no_streams, is_draining
from tests._support.clients.stalled_reader import connect_without_reading
from tests._support.llm.mock_stats import Upstream
from tests._support.llm.unbounded_server import CHUNKS, TEXT
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, wait_for_exit
from tests._support.servers.services import Start

Socket = aiohttp.ClientWebSocketResponse
KEY = base64.b64encode(b"0123456789abcdef").decode()


def request(question: str = "Why is the sky blue?", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], **fields}


@asynccontextmanager
async def socket_of(service: Process, origin: str | None = None) -> AsyncIterator[Socket]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{service.url}/chat", origin=origin, max_msg_size=0) as socket,
    ):
        yield socket


async def told(socket: Socket) -> dict[str, str]:
    """Return the next message."""
    message: dict[str, str] = await socket.receive_json(timeout=PATIENCE_S)
    return message


async def heard(socket: Socket) -> tuple[str, dict[str, str]]:
    """Return an answer's text and the message that ends it."""
    text = ""
    while "token" in (message := await told(socket)):
        text += message["token"]
    return text, message


async def parting(socket: Socket) -> tuple[list[dict[str, str]], int | None]:
    """Return the remaining messages and the service's close code."""
    async with asyncio.timeout(PATIENCE_S):
        said = [json.loads(message.data) async for message in socket]
    return said, socket.close_code


DONE = {"done": "true"}
CANCEL = {"type": "cancel"}
CANCELLED = {"error": "The run was cancelled."}


# --- answers ---


async def test_an_answer_comes_in_tokens_and_then_done(service: Process, api: Api) -> None:
    async with socket_of(service) as socket:
        await socket.send_json(request(conversation_id="socket-1"))
        text, end = await heard(socket)
    kept = (await api.http.get("/api/conversations/socket-1")).json()["messages"]
    assert end == DONE
    assert [each["content"] for each in kept] == ["Why is the sky blue?", text]


async def test_requests_are_answered_in_order(service: Process, api: Api) -> None:
    async with socket_of(service) as socket:
        for number in range(4):
            await socket.send_json(request(f"No. {number}?", conversation_id=f"in-order-{number}"))
        answers = [await heard(socket) for _ in range(4)]
    for number, (text, end) in enumerate(answers):
        kept = (await api.http.get(f"/api/conversations/in-order-{number}")).json()["messages"]
        assert (kept[1]["content"], end) == (text, DONE)


async def test_a_conversation_is_continued(service: Process) -> None:
    async with socket_of(service) as socket:
        for question in ("What is a comet?", "And its tail?"):
            await socket.send_json(request(question, conversation_id="tail", ensemble="wordy"))
            text, _ = await heard(socket)
    assert "Earlier you asked about “What is a comet?”" in text


async def test_messages_may_be_binary(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket.send_bytes(json.dumps(request()).encode())
        assert (await heard(socket))[1] == DONE


async def test_characters_and_megabytes_arrive_whole(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket.send_json(request(ensemble="odd-split_utf8"))
        assert (await heard(socket))[0].startswith("Grüße 👋 an alle: naïve Ärzte\u2028sagen")
        await socket.send_json(request(ensemble="huge"))
        assert await heard(socket) == (TEXT * CHUNKS, DONE)


async def test_ten_sockets_are_served_at_once(service: Process, upstream: Upstream) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(socket_of(service)) for _ in range(10)]
        for socket in sockets:
            await socket.send_json(request(ensemble="brief"))
        ends = [end for _, end in await asyncio.gather(*map(heard, sockets))]
    assert ends == [DONE] * 10


async def test_the_handshake_names_request_and_trace(service: Process) -> None:
    asked = {"X-Request-ID": "socket-77"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{service.url}/chat", headers=asked) as socket,
    ):
        headers = socket._response.headers
    assert headers["X-Request-ID"] == "socket-77"
    assert headers["X-Trace-Id"] in headers["traceresponse"]


# --- cancelling ---


async def test_cancel_ends_the_answer_and_its_calls_and_the_next_is_served(
    service: Process, upstream: Upstream
) -> None:
    await until(upstream.quiet)
    async with socket_of(service) as socket:
        await socket.send_json(request(ensemble="endless-answer"))
        await socket.send_json(request())
        assert "token" in await told(socket)
        await socket.send_json(CANCEL)
        assert (await heard(socket))[1] == CANCELLED
        assert (await heard(socket))[1] == DONE
    await until(upstream.quiet)


async def test_cancel_right_after_asking_stops_what_is_about_to_begin(service: Process) -> None:
    async with socket_of(service) as socket:
        for _ in range(5):
            await socket.send_json(request(ensemble="endless-answer"))
            await socket.send_json(CANCEL)
            assert (await heard(socket))[1] == CANCELLED


async def test_cancel_with_nothing_going_on_is_harmless(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket.send_json(CANCEL)
        await socket.send_json(request())
        text, end = await heard(socket)
        await socket.send_json(CANCEL)
        await socket.send_json(request())
        assert (bool(text), end) == (True, DONE)
        assert (await heard(socket))[1] == DONE


# --- errors ---


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        "null",
        '{"type": "cance"}',
        '{"messages": []}',
        '{"messages": [{"role": "system", "content": "x"}]}',
        '{"messages": [{"role": "user", "content": "a\\u0000b"}]}',
        "[" * 100_000,
        '{"messages": [{"role": "user", "content": "x"}], "ensemble": "nope"}',
    ],
    ids=lambda text: text[:40],
)
async def test_a_bad_message_is_an_error_and_the_socket_stays_open(
    service: Process, text: str
) -> None:
    async with socket_of(service) as socket:
        for send in (socket.send_str(text), socket.send_bytes(text.encode())):
            await send
            error = await told(socket)
            assert error.keys() == {"error"}
            assert error["error"].endswith(".")
        await socket.send_json(request())
        assert (await heard(socket))[1] == DONE


async def test_binary_that_is_not_utf_8_is_an_error(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket.send_bytes(b"\xff\xfe")
        assert (await told(socket)).keys() == {"error"}


async def test_a_run_that_fails_is_an_error_and_the_next_is_served(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket.send_json(request(ensemble="combiner-cut"))
        await socket.send_json(request())
        text, end = await heard(socket)
        assert text
        assert end.keys() == {"error"}
        assert (await heard(socket))[1] == DONE


async def test_more_than_a_few_waiting_are_refused_at_once(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket.send_json(request(ensemble="hung"))
        for _ in range(10):
            await socket.send_json(request())
        for _ in range(2):
            assert await told(socket) == {"error": "Too many requests wait on this socket."}
        await socket.send_json(CANCEL)
        assert await heard(socket) == ("", CANCELLED)
        assert [(await heard(socket))[1] for _ in range(8)] == [DONE] * 8


@pytest.mark.parametrize("size", [262_145, 5_000_000])
@pytest.mark.parametrize("character", ["x", "é"])
async def test_a_message_over_the_limit_closes_the_socket(
    service: Process, size: int, character: str
) -> None:
    async with socket_of(service) as socket:
        await socket.send_str(character * (size // len(character.encode()) + 1))
        assert await parting(socket) == ([], aiohttp.WSCloseCode.MESSAGE_TOO_BIG)


async def test_a_message_just_under_the_limit_is_read(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket.send_str(" " * 262_144)
        assert "error" in await told(socket)


async def test_text_that_is_not_utf_8_closes_the_socket(service: Process) -> None:
    async with socket_of(service) as socket:
        await socket._writer.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        assert await parting(socket) == ([], aiohttp.WSCloseCode.INVALID_TEXT)


# --- allowed origins ---


@pytest.mark.parametrize("origin", [None, "http://{host}", "https://{host}", "HTTP://{host}"])
async def test_pages_of_this_host_and_programs_may_come(
    service: Process, origin: str | None
) -> None:
    here = origin and origin.format(host=f"localhost:{service.port}")
    async with socket_of(service, here) as socket:
        await socket.send_json(request())
        assert (await heard(socket))[1] == DONE


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://localhost", "null", "", "http://localhost:{port}.evil.example"],
)
async def test_pages_from_elsewhere_are_refused(service: Process, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with socket_of(service, origin.format(port=service.port)):
            pass
    assert refused.value.status == 403


async def test_a_refusal_is_a_response_in_the_shape_of_errors(service: Process) -> None:
    async with connected(service.port) as (reader, writer):
        writer.write(upgrade("Origin: http://evil.example"))
        response = await reader.readuntil(b"}")
    assert response.startswith(b"HTTP/1.1 403 ")
    assert b'"code": "origin_not_allowed"' in response


async def test_allowed_origins_may_come(start: Start) -> None:
    service = start(ALLOWED_ORIGINS="https://chat.example.com, http://other.example:8000")
    for origin in (
        "https://chat.example.com",
        "https://CHAT.example.com:443",
        "http://other.example:8000",
    ):
        async with socket_of(service, origin) as socket:
            await socket.send_json(request())
            assert (await heard(socket))[1] == DONE
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with socket_of(service, "http://chat.example.com"):
            pass


async def test_a_socket_elsewhere_is_404(service: Process) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with session.ws_connect(f"{service.url}/elsewhere"):
                pass
    assert refused.value.status == 404


# --- clients that leave, flood or stall ---


def upgrade(*lines: str) -> bytes:
    return head(
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        *lines,
        method="GET",
        path="/chat",
    )


def framed(message: dict[str, Any]) -> bytes:
    """Return a text frame, masked with zeros."""
    data = json.dumps(message).encode()
    assert 126 <= len(data) < 65_536
    return b"\x81\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data


@asynccontextmanager
async def never_reading(service: Process, message: dict[str, Any]) -> AsyncIterator[None]:
    """Open a socket, send a message and leave all that comes where it is."""
    loop = asyncio.get_running_loop()
    async with connect_without_reading(service.port, upgrade()) as sock:
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += await loop.sock_recv(sock, 1)
        await loop.sock_sendall(sock, framed(message))
        yield


async def test_a_run_goes_on_without_its_socket_for_the_grace(
    impatient: Process, hasty: Api, upstream: Upstream
) -> None:
    async with socket_of(impatient) as socket:
        await socket.send_json(request(conversation_id="left-1", ensemble="endless-answer"))
        assert "token" in await told(socket)
    newest = (await hasty.http.get("/history?limit=1")).json()["items"][0]
    assert (newest["conversation_id"], newest["status"]) == ("left-1", "running")
    assert (await hasty.ended(newest["id"]))["code"] == "abandoned"
    await until(upstream.quiet)


async def test_sockets_that_break_off_leave_nothing_behind(
    impatient: Process, hasty: Api, upstream: Upstream
) -> None:
    for _ in range(20):
        async with connected(impatient.port) as (reader, writer):
            writer.write(upgrade())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(framed(request("x" * 100, ensemble="endless")))
            await writer.drain()
    await until(partial(has_no_streams, hasty))
    await until(upstream.quiet)


async def test_who_does_not_wait_for_the_handshake_leaves_nothing_behind(
    service: Process, api: Api
) -> None:
    await api.ask()
    before = len(open_files(service))
    for _ in range(10):
        async with connected(service.port) as (reader, writer):
            writer.write(upgrade() + framed(request("x" * 100)))
            # Both replies are valid: the client sent a frame before the handshake, which is a race.
            assert (await reader.readuntil(b"\r\n")).split()[1] in (b"400", b"101")

    async def all_gone() -> bool:
        return len(open_files(service)) <= before

    await until(all_gone)


def open_files(process: Process) -> list[Path]:
    return list(Path(f"/proc/{process.pid}/fd").iterdir())


async def test_who_floods_without_reading_leaves_no_connection_behind(
    impatient: Process, hasty: Api
) -> None:
    await hasty.ask()
    before = len(open_files(impatient))
    await asyncio.gather(*(flood(impatient, "unread", 20_000_000) for _ in range(5)))

    async def all_gone() -> bool:
        return len(open_files(impatient)) <= before

    await until(all_gone)


async def test_a_client_that_does_not_read_does_not_slow_the_run_and_is_dropped(
    impatient: Process, hasty: Api
) -> None:
    question = request("x" * 100, ensemble="huge", conversation_id="stalled-1")
    async with never_reading(impatient, question):
        await until(partial(is_kept, hasty, "stalled-1"))
        await until(partial(has_no_streams, hasty))
    assert "is a bug" not in impatient.err


async def is_kept(api: Api, conversation_id: str) -> bool:
    """Whether the conversation's last answer is complete."""
    found = await api.http.get(f"/api/conversations/{conversation_id}")
    if found.status_code == 404:
        return False
    return bool(found.json()["messages"][-1].get("status") == "completed")


def memory_mb(process: Process) -> int:
    """Return what a process holds in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


@pytest.mark.parametrize("kind", ["one message", "many messages", "compressed", "unread"])
async def test_three_hundred_megabytes_are_not_kept(start: Start, kind: str) -> None:
    service = start(SEND_TIMEOUT_S="1")
    size = 300_000_000
    async with client_of(service.url) as api:
        await api.ask()
        before, peak = memory_mb(service), 0
        flooding = asyncio.create_task(flood(service, kind, size))
        while not flooding.done():
            peak = max(peak, memory_mb(service))
            await asyncio.sleep(0.01)
        await flooding
        await api.ask()
    assert peak - before < 60


async def flood(service: Process, kind: str, size: int) -> None:
    if kind == "unread":
        frame = framed({"x": "y" * 60_000})
        async with connected(service.port) as (reader, writer):
            writer.write(upgrade())
            await reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):  # it is dropped
                for _ in range(size // len(frame)):
                    writer.write(frame)
                    await writer.drain()
        return
    compress = 15 if kind == "compressed" else 0
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{service.url}/chat", compress=compress) as socket,
    ):
        if kind == "many messages":
            for _ in range(size // 200_000):
                await socket.send_str("x" * 200_000)
                await told(socket)
            return
        await socket.send_str("x" * size)
        assert await parting(socket) == ([], aiohttp.WSCloseCode.MESSAGE_TOO_BIG)


# --- the end of the service ---


async def test_on_sigterm_idle_sockets_are_closed_and_it_ends(start: Start) -> None:
    service = start()
    async with socket_of(service) as socket:
        await socket.send_json(request())
        assert (await heard(socket))[1] == DONE
        service.signal(signal.SIGTERM)
        assert await parting(socket) == ([], 1012)
    assert await wait_for_exit(service) == 0
    assert "Traceback" not in service.err


async def test_while_draining_an_open_answer_finishes_and_new_ones_are_refused(
    start: Start,
) -> None:
    service = start(DRAIN_S="20")
    async with socket_of(service) as socket, client_of(service.url) as api:
        await socket.send_json(request(ensemble="brief"))
        assert "token" in await told(socket)
        service.signal(signal.SIGTERM)
        await until(partial(is_draining, api))
        await socket.send_json(request())
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with socket_of(service):
                pass
        assert refused.value.status == 503
        assert (await heard(socket))[1] == DONE
        assert await parting(socket) == ([{"error": "The service is shutting down."}], 1012)
    assert await wait_for_exit(service) == 0


async def test_what_does_not_finish_in_time_gets_its_error(
    start: Start, upstream: Upstream
) -> None:
    service = start(DRAIN_S="0.3")
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(socket_of(service)) for _ in range(10)]
        for socket in sockets:
            await socket.send_json(request(ensemble="endless-answer"))
            assert "token" in await told(socket)
        service.signal(signal.SIGTERM)
        for socket in sockets:
            said, code = await parting(socket)
            assert said[-1] == {"error": "The service is shutting down; please ask again."}
            assert code == 1012
    assert await wait_for_exit(service) == 0
    assert "Traceback" not in service.err
    await until(upstream.quiet)


async def test_a_socket_that_is_not_read_does_not_keep_it_from_ending(start: Start) -> None:
    service = start(DRAIN_S="0.2")
    question = request("x" * 100, ensemble="huge", conversation_id="unread-1")
    async with never_reading(service, question):
        async with client_of(service.url) as api:
            await until(partial(is_kept, api, "unread-1"))
        service.signal(signal.SIGTERM)
        assert await wait_for_exit(service) == 0, service.err
