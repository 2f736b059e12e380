"""Several processes count together in Redis, and each applies its share without it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests._support.clients.api import Api, client_of, until
from tests._support.clients.callers import PROXIED, come_from, new_address
from tests._support.clients.worker_clients import connect_to_each_worker
from tests._support.servers.databases import Redis, redis_server
from tests._support.servers.services import Start

RULES = """
[[rules]]
name = "models"
match.route = "/v1/models"
requests = "30/hour"
[[rules]]
name = "few"
match.route = "/history"
requests = "1/hour"
[[rules]]
name = "open"
streams = 3
"""


@pytest.fixture
def redis_of_test() -> Iterator[Redis]:
    """A Redis that the test ends and starts."""
    with redis_server() as server:
        yield server


def _folder(path: Path, name: str) -> Path:
    folder = path / name
    folder.mkdir()
    (folder / "limits.toml").write_text(RULES)
    return folder


async def _get(api: Api, path: str, address: str) -> int:
    return (await api.http.get(path, headers=come_from(address))).status_code


async def _count(apis: list[Api], address: str, *, each: int) -> Counter[int]:
    """Return the statuses of requests that all clients send at once."""
    requests = (
        api.http.get("/v1/models", headers=come_from(address)) for api in apis for _ in range(each)
    )
    return Counter(response.status_code for response in await asyncio.gather(*requests))


async def test_two_processes_with_redis_accept_exactly_the_limit(
    start: Start, tmp_path: Path, redis_of_test: Redis
) -> None:
    settings = {**PROXIED, "REDIS_URL": redis_of_test.url}
    services = [start(folder=_folder(tmp_path, name), **settings) for name in "ab"]
    async with AsyncExitStack() as stack:
        apis = [await stack.enter_async_context(client_of(each.url)) for each in services]
        for _ in range(3):
            assert await _count(apis, new_address(), each=40) == {200: 30, 429: 50}
        address = new_address()
        streams = [
            await stack.enter_async_context(api.asked(come_from(address), ensemble="ticking"))
            for api in (apis[0], apis[1], apis[0])
        ]
        assert len(streams) == 3
        for api in apis:
            body = {"message": "Why?", "message_id": "m", "ensemble": "solo"}
            refused = await api.http.post("/api/process", json=body, headers=come_from(address))
            assert refused.status_code == 429
            health = (await api.http.get("/health")).json()
            assert (health["checks"]["redis"], health["limits"]) == ("ok", "shared in Redis")


async def test_without_redis_each_process_applies_its_share(start: Start, tmp_path: Path) -> None:
    service = start("--workers", "2", folder=_folder(tmp_path, "a"), **PROXIED)
    async with connect_to_each_worker(service) as apis:
        address = new_address()
        for api in apis[:2]:
            models = [await _get(api, "/v1/models", address) for _ in range(20)]
            assert Counter(models) == {200: 15, 429: 5}
            history = [await _get(api, "/history", address) for _ in range(2)]
            assert history == [200, 429]  # a share is at least 1
        health = (await apis[0].http.get("/health")).json()
    assert health["status"] == "ok"
    assert health["limits"] == "without Redis each of 2 processes applies its share"
    assert "Without Redis each of 2 processes applies its share" in service.err


async def test_a_lost_redis_is_replaced_by_shares_until_it_is_back(
    start: Start, tmp_path: Path, redis_of_test: Redis
) -> None:
    settings = {**PROXIED, "REDIS_URL": redis_of_test.url}
    service = start(folder=_folder(tmp_path, "a"), **settings)
    async with client_of(service.url) as api:
        address = new_address()
        assert await _count([api], address, each=20) == {200: 20}
        os.kill(redis_of_test.pids[0], signal.SIGKILL)
        redis_of_test.stop()
        assert await _count([api], address, each=40) == {200: 30, 429: 10}
        health = (await api.http.get("/health")).json()
        assert health["status"] == "degraded"
        assert health["checks"]["redis"].startswith("Redis is unavailable")
        redis_of_test.start()

        async def is_shared() -> bool:
            await api.http.get("/v1/models", headers=come_from(new_address()))
            return bool((await api.http.get("/health")).json()["status"] == "ok")

        await until(is_shared)
        assert await _count([api], address, each=40) == {200: 30, 429: 10}
    assert service.err.count("limits cannot be shared in Redis") == 1
    assert service.err.count("limits are shared in Redis again") == 1
