"""The mock as a server on real sockets, used by httpx or, where that is too limited, with bytes.

Runs in a separate thread with its own event loop: uvloop's, then asyncio's.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvloop

from service.llm.sse_decoder import SSEDecoder
from service.mock_llm.reply import MULTIBYTE_TEXT, TokenPace
from service.mock_llm.server import serve_mock
from service.mock_llm.transport import MockLLM


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the base URL of a mock; the server must end cleanly afterwards."""
    ready: queue.Queue[str] = queue.Queue()
    stops: queue.Queue[Callable[[], object]] = queue.Queue()
    mock = MockLLM(pace=TokenPace(first_s=0, gap_s=0))

    async def serve() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        stops.put(lambda: loop.call_soon_threadsafe(task.cancel))
        await serve_mock("127.0.0.1", 0, mock, ready=ready.put)

    def run() -> None:
        with (
            asyncio.Runner(loop_factory=request.param) as runner,
            pytest.raises(asyncio.CancelledError),
        ):
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    yield ready.get(timeout=10)
    stops.get()()
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as client:
        yield client


def make_body(model: str = "small", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Why?"}], **fields}


async def read_stream(client: httpx.AsyncClient, model: str) -> list[bytes]:
    """Return the data of each event."""
    decoder = SSEDecoder()
    events = []
    request = make_body(model, stream=True)
    async with client.stream("POST", "/chat/completions", json=request) as response:
        assert response.headers["transfer-encoding"] == "chunked"
        async for block in response.aiter_raw():
            events += decoder.feed(block)
    return [event.data for event in [*events, *decoder.finish()]]


async def test_a_dialect_is_served_on_a_port(client: httpx.AsyncClient) -> None:
    first, *_, last, done = await read_stream(client, "small?dialect=mistral")
    assert json.loads(first)["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert json.loads(last)["usage"]["completion_tokens"] > 0
    assert done == b"[DONE]"
    failure = await client.post(
        "/chat/completions", json=make_body("small?dialect=gemini&fault=status&status=503")
    )
    assert failure.json()[0]["error"]["status"] == "UNAVAILABLE"


def text_of(data: list[bytes]) -> str:
    some = [json.loads(each) for each in data if each != b"[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in some)


async def read_stats(url: str) -> dict[str, int]:
    async with httpx.AsyncClient() as client:
        numbers: dict[str, int] = (await client.get(url.removesuffix("/v1") + "/stats")).json()
        return numbers


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def encode_request(document: dict[str, Any], *fields: str) -> bytes:
    content = json.dumps(document).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: mock", *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


async def read_response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the status line and the body of a response with a content-length."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return head.split(b"\r\n")[0], await reader.readexactly(int(fields[b"content-length"]))


async def send_and_read(url: str, sent: bytes) -> bytes:
    """Return all data until the server closes the connection."""
    async with connect(url) as (reader, writer):
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), 10)


async def test_a_stream_over_a_socket_equals_the_one_in_process(client: httpx.AsyncClient) -> None:
    document = (await client.post("/chat/completions", json=make_body())).json()
    data = await read_stream(client, "small")
    assert data[-1] == b"[DONE]"
    assert text_of(data) == document["choices"][0]["message"]["content"]


async def test_the_models_are_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/models?limit=3")).json()["object"] == "list"


async def test_a_connection_serves_one_request_after_the_other(url: str) -> None:
    async with connect(url) as (reader, writer):
        for _ in range(3):
            writer.write(encode_request(make_body("small?tokens=2")))
            status, content = await read_response(reader)
            assert status == b"HTTP/1.1 200 OK"
            assert json.loads(content)["usage"]["completion_tokens"] == 2


async def test_requests_sent_at_once_are_answered_in_turn(url: str) -> None:
    async with connect(url) as (reader, writer):
        writer.write(b"".join(encode_request(make_body(f"small?tokens={n}")) for n in (1, 2, 3)))
        answers = [json.loads((await read_response(reader))[1]) for _ in range(3)]
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [1, 2, 3]


async def test_a_request_may_arrive_byte_by_byte(url: str) -> None:
    async with connect(url) as (reader, writer):
        for byte in encode_request(make_body("small?tokens=1")):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await read_response(reader))[0] == b"HTTP/1.1 200 OK"


async def test_a_client_that_expects_100_receives_it(url: str) -> None:
    head, content = encode_request(make_body(), "Expect: 100-continue").split(b"\r\n\r\n", 1)
    async with connect(url) as (reader, writer):
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(content)
        assert (await read_response(reader))[0] == b"HTTP/1.1 200 OK"


async def test_the_connection_closes_at_the_clients_request(url: str) -> None:
    answer = await send_and_read(url, encode_request(make_body(stream=True), "Connection: close"))
    assert b"connection: close" in answer
    assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


BAD_HEADS = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "another version": (b"GET /v1/models HTTP/1.0\r\n\r\n", 400),
    "a header without colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    "a space in a name": (b"POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", 400),
    "a length that is no number": (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    "a chunked body": (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    "a body over 16 MB": (b"POST / HTTP/1.1\r\nContent-Length: 16777217\r\n\r\n", 413),
    "an endless length": (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
    "endless headers": (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
}


@pytest.mark.parametrize(("sent", "status"), BAD_HEADS.values(), ids=BAD_HEADS.keys())
async def test_an_invalid_request_is_refused_and_the_connection_closed(
    url: str, sent: bytes, status: int
) -> None:
    head, _, content = (await send_and_read(url, sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(content)["error"]["message"].endswith(".")


async def test_a_body_of_4_mb_is_read(client: httpx.AsyncClient) -> None:
    content = json.dumps(make_body()).encode()
    content += b" " * (4 * 1024 * 1024 - len(content))
    assert (await client.post("/chat/completions", content=content)).status_code == 200


async def test_a_status_fault_has_its_headers(client: httpx.AsyncClient) -> None:
    model = "small?fault=status&status=503&retry_after=2"
    response = await client.post("/chat/completions", json=make_body(model))
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


async def test_split_characters_are_joined_by_the_client(client: httpx.AsyncClient) -> None:
    assert text_of(await read_stream(client, "small?fault=split_utf8")) == MULTIBYTE_TEXT


async def test_a_cut_is_a_clean_end_of_file(client: httpx.AsyncClient) -> None:
    assert len(await read_stream(client, "small?fault=cut&after=4")) == 5


async def test_a_reset_happens_after_the_given_tokens(url: str) -> None:
    request = encode_request(make_body("small?fault=reset&after=2", stream=True))
    async with connect(url) as (reader, writer):
        writer.write(request)
        received = b"".join([await reader.readuntil(b"\n\n") for _ in range(3)])
        assert received.count(b"data: ") == 3
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert (await read_stats(url))["closed_early"] == 0


async def test_a_refused_request_gets_no_response(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.NetworkError):
        await client.post("/chat/completions", json=make_body("small?fault=refuse"))


@pytest.mark.parametrize("model", ["small?fault=hang", "small?fault=stall", "small?gap_ms=60000"])
async def test_a_disconnect_stops_the_stream_immediately(url: str, model: str) -> None:
    async def open_streams(count: int) -> bool:
        return (await read_stats(url))["open_streams"] == count

    async with connect(url) as (_, writer):
        writer.write(encode_request(make_body(model, stream=True)))
        await until(lambda: open_streams(1))
    await until(lambda: open_streams(0))
    assert (await read_stats(url))["closed_early"] == 1


async def test_a_client_that_does_not_read_pauses_the_stream(url: str) -> None:
    """Once the client reads, it receives everything; the server does not buffer it before."""

    async def streaming() -> bool:
        return (await read_stats(url))["open_streams"] == 1

    model = "small?tokens=60000&first_ms=0&gap_ms=0"  # 15 MB: more than the sockets buffer
    async with connect(url) as (reader, writer):
        writer.write(encode_request(make_body(model, stream=True), "Connection: close"))
        await until(streaming)
        await asyncio.sleep(0.2)
        assert await streaming()
        received = 0
        while block := await reader.read(1 << 20):
            received += block.count(b'"content":"')
    assert received > 59_000  # blocks split a few of them


async def test_tokens_are_sent_at_their_times(url: str) -> None:
    request = encode_request(make_body("small?tokens=3&first_ms=0&gap_ms=60000", stream=True))
    async with connect(url) as (reader, writer):
        writer.write(request)
        await reader.readuntil(b"\n\n")  # the role
        await reader.readuntil(b"\n\n")  # the first token
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readuntil(b"\n\n"), 0.05)


async def test_the_statistics_count_requests(client: httpx.AsyncClient, url: str) -> None:
    await read_stream(client, "small")
    await client.get("/nowhere")
    assert await read_stats(url) == {"requests": 2, "open_streams": 0, "closed_early": 0}
