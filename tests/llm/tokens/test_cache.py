"""Token counts in Redis: shared between processes, and computed locally without Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from redis.asyncio import Redis as Client

from service.llm.tokens.cache import RedisCounts
from service.llm.tokens.counter import TokenCounter, open_counter
from telemetry import Telemetry, TelemetryConfig
from tests._support.llm.scripted import raw_server, until
from tests._support.servers.databases import Redis, redis_server

UNUSED = "redis://127.0.0.1:1/0"


PATIENT_S = 5.0  # enough for a working Redis on a busy machine
HURRIED_S = 0.05


@asynccontextmanager
async def _open_counts(
    url: str, *, timeout_s: float = PATIENT_S, rest_s: float = 10.0
) -> AsyncIterator[RedisCounts]:
    telemetry = Telemetry(TelemetryConfig())
    counts = RedisCounts(url, telemetry, timeout_s=timeout_s, rest_s=rest_s)
    yield counts
    await counts.close()


@asynccontextmanager
async def _connect(url: str) -> AsyncIterator[Client]:
    client: Client = Client.from_url(url)
    yield client
    await client.aclose()


@contextmanager
def _suspend(redis: Redis) -> Iterator[None]:
    redis.stop_the_world()
    try:
        yield
    finally:
        redis.resume()


async def test_other_processes_read_a_stored_count(redis_url: str) -> None:
    async with _open_counts(redis_url) as mine, _open_counts(redis_url) as others:
        await mine.put({"a": 1, "b": 0}, None)
        assert await others.get(["b", "c", "a"], None) == [0, None, 1]


async def test_counts_expire(redis_url: str) -> None:
    async with _open_counts(redis_url) as counts, _connect(redis_url) as client:
        await counts.put({"a": 1}, None)
        assert 0 < await client.ttl("a") <= 7 * 86_400


@pytest.mark.parametrize("stored", ["", "x", "-1", "1.5", "1 ", "9" * 10, "²"])
async def test_an_invalid_count_is_ignored(redis_url: str, stored: str) -> None:
    async with _open_counts(redis_url) as counts, _connect(redis_url) as client:
        await client.set("a", stored)
        assert await counts.get(["a"], None) == [None]


async def test_a_value_of_another_type_is_ignored(redis_url: str) -> None:
    async with _open_counts(redis_url) as counts, _connect(redis_url) as client:
        await client.lpush("a", "1")
        assert await counts.get(["a"], None) == [None]


async def test_a_counter_with_redis_shares_its_counts(redis_url: str) -> None:
    telemetry = Telemetry(TelemetryConfig())
    first, second = open_counter(redis_url, telemetry), open_counter(redis_url, telemetry)
    assert await first.count(["hello world"], "gpt-4o") == [2]
    async with _connect(redis_url) as client:
        (key,) = await client.keys("*")
        await client.set(key, 3)
    assert await second.count(["hello world"], "gpt-4o") == [3]
    await first.close()
    await second.close()


async def test_many_reads_can_be_concurrent(redis_url: str) -> None:
    async with _open_counts(redis_url) as counts:
        await counts.put({str(n): n for n in range(100)}, None)
        received = await asyncio.gather(*(counts.get([str(n)], None) for n in range(100)))
    assert received == [[n] for n in range(100)]


# --- failures of Redis ---


def _list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [each for each in caplog.records if each.name == "service.llm.tokens.cache"]
    return [each.getMessage() for each in records if each.levelno == logging.WARNING]


async def _check_that_tokens_are_counted(url: str, timeout_s: float = PATIENT_S) -> None:
    async with _open_counts(url, timeout_s=timeout_s) as counts, asyncio.timeout(20):
        assert await TokenCounter(counts).count(["hello world"], "gpt-4o") == [2]


async def test_tokens_are_counted_when_redis_is_unreachable() -> None:
    await _check_that_tokens_are_counted(UNUSED)


async def test_tokens_are_counted_when_redis_does_not_answer(redis: Redis) -> None:
    with _suspend(redis):
        await _check_that_tokens_are_counted(redis.url, HURRIED_S)


async def test_tokens_are_counted_when_the_password_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with redis_server(password="right") as server:
        await _check_that_tokens_are_counted(server.url.replace("right", "swordfish"))
    assert len(_list_warnings(caplog)) == 2  # reading and writing
    assert "swordfish" not in caplog.text


@pytest.mark.parametrize(
    "response",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*x\r\n", b"$9999\r\nshort", b"\xff\xfe\r\n", b""],
)
async def test_tokens_are_counted_when_the_server_is_not_redis(response: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(response)
        writer.close()

    async with raw_server(answer) as url:
        await _check_that_tokens_are_counted(url.replace("http:", "redis:").replace("/v1", "/0"))


async def test_a_full_redis_is_still_read(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with _connect(redis_url) as client, _open_counts(redis_url) as counts:
        await counts.put({"a": 1}, None)
        await client.config_set("maxmemory", 1)
        try:
            await counts.put({"b": 1}, None)
            assert await counts.get(["a", "b"], None) == [1, None]
        finally:
            await client.config_set("maxmemory", 0)
    (warning,) = _list_warnings(caplog)
    assert "cannot be written" in warning


async def test_a_failed_redis_gets_no_requests_for_a_while_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with (
        raw_server(hang_up) as url,
        _open_counts(url.replace("http:", "redis:")[:-3]) as counts,
    ):
        for _ in range(10):
            assert await counts.get(["a"], None) == [None]
        assert connections == 1
    (warning,) = _list_warnings(caplog)
    assert warning.startswith("token counts cannot be read in Redis: ")


async def test_a_redis_that_works_again_is_used_again(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.llm.tokens.cache")
    async with _open_counts(redis.url, rest_s=0) as counts:
        await counts.put({"a": 1}, None)
        redis.stop()
        assert await counts.get(["a"], None) == [None]
        assert await counts.get(["a"], None) == [None]
        redis.start()
        assert await counts.get(["a"], None) == [None]  # it lost its data
        await counts.put({"a": 1}, None)
        assert await counts.get(["a"], None) == [1]
    assert caplog.messages[-1] == "token counts can be read in Redis again"
    assert len(_list_warnings(caplog)) == 1


async def test_a_late_answer_is_not_used_for_the_next_request(redis: Redis, redis_url: str) -> None:
    async with _open_counts(redis_url, timeout_s=0.5, rest_s=0) as counts:
        await counts.put({"a": 1, "b": 2}, None)
        with _suspend(redis):
            assert await counts.get(["a"], None) == [None]
        assert await counts.get(["b"], None) == [2]


async def test_a_cancelled_request_leaves_no_half_read_connection(
    redis: Redis, redis_url: str
) -> None:
    async with _open_counts(redis_url) as counts:
        await counts.put({"a": 1, "b": 2}, None)
        for _ in range(20):
            with _suspend(redis):
                asking = asyncio.create_task(counts.get(["a"], None))
                await asyncio.sleep(0.005)
                asking.cancel()
            await until(asking.done)
            assert await counts.get(["b"], None) == [2]


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1:port/0"])
def test_an_invalid_redis_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        open_counter(url, Telemetry(TelemetryConfig()))
