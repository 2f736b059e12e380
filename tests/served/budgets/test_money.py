"""Budgets over real sockets: many callers at once, several processes, every API, resets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
import httpx
import openai
import pytest

from service.store.budgets.tables import budgets, reservations
from service.store.database import Database
from service.store.schema import runs
from tests._support.clients.api import asking, client_of, until
from tests._support.clients.openai_sdk import USER
from tests._support.clients.openai_sdk import client_of as openai_client_of
from tests._support.clients.worker_clients import wait_for_two_workers
from tests._support.patience import PATIENCE_S
from tests._support.runs.stored_rows import count_rows, select_rows
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

CENTS_5 = 50_000_000  # in billionths of a dollar


async def ask(http: httpx.AsyncClient, url: str) -> int:
    """Ask one question, read the answer, and return the status."""
    response = await http.post(f"{url}/api/process", json=asking())
    if response.status_code == 200:
        assert '"final": true' in response.text
        assert '"type": "run.finished"' in response.text
    return response.status_code


async def ask_all(url: str, count: int, at_once: int) -> Counter[int]:
    """Ask `count` questions and return how often each status came."""
    places = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once)

    async def one(http: httpx.AsyncClient) -> int:
        async with places:
            return await ask(http, url)

    async with httpx.AsyncClient(timeout=PATIENCE_S, limits=limits) as http:
        return Counter(await asyncio.gather(*(one(http) for _ in range(count))))


async def use_up(url: str) -> None:
    """Ask one question after the other until the budget refuses one.

    Of questions at once, those that the budget refuses while others hold reservations are lost: how
    much of it they use depends on the machine.
    """
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        while await ask(http, url) == 200:
            pass


async def read_budget(database_url: str) -> tuple[int, int, int]:
    """Return what is spent and reserved, and the sum of the costs of all runs."""
    database = Database(database_url, timeout_s=PATIENCE_S)

    async def is_settled() -> bool:
        return not await count_rows(database, reservations)

    try:
        await until(is_settled)
        ((spent, reserved),) = await select_rows(database, budgets.c.spent, budgets.c.reserved)
        costs: Sequence[Any] = await select_rows(database, runs.c.cost_usd)
        return spent, reserved, sum(round((cost or 0) * 1e9) for (cost,) in costs)  # type: ignore[return-value]
    finally:
        await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    found: str = request.getfixturevalue(name)
    return found


async def test_twenty_terminals_at_once_never_overspend_five_cents(
    limited: Start, url: str
) -> None:
    settings = {"DATABASE_URL": url, "MIGRATE_ON_START": "true"}
    service = limited('cost_usd = "0.05/day"', **settings)
    statuses = await ask_all(service.url, count=20, at_once=20)
    assert set(statuses) == {200, 402}
    spent, reserved, costs = await read_budget(url)
    assert (spent, reserved) == (costs, 0)
    assert 0 < spent <= CENTS_5


async def test_processes_that_share_a_database_share_its_budgets(limited: Start, url: str) -> None:
    settings = {"DATABASE_URL": url, "MIGRATE_ON_START": "true"}
    service = limited('cost_usd = "0.20/day"', "--workers", "2", **settings)
    await wait_for_two_workers(service)
    statuses = await ask_all(service.url, count=100, at_once=12)
    assert statuses[200]
    assert set(statuses) <= {200, 402}
    await use_up(service.url)
    spent, reserved, costs = await read_budget(url)
    assert (spent, reserved) == (costs, 0)
    assert 0.9 * 4 * CENTS_5 <= spent <= 4 * CENTS_5


async def test_redis_changes_nothing_about_budgets(
    limited: Start, sqlite_url: str, redis_url: str
) -> None:
    settings = {"DATABASE_URL": sqlite_url, "REDIS_URL": redis_url}
    service = limited('cost_usd = "0.10/day"', **settings)
    statuses = await ask_all(service.url, count=40, at_once=6)
    assert statuses[200]
    assert set(statuses) <= {200, 402}
    await use_up(service.url)
    spent, reserved, costs = await read_budget(sqlite_url)
    assert (spent, reserved) == (costs, 0)
    assert 0.85 * 2 * CENTS_5 <= spent <= 2 * CENTS_5


# --- refusals ---


ROUTES: dict[str, dict[str, Any]] = {
    "/api/process": asking(),
    "/chat": {"messages": USER},
    "/chat?stream=true": {"messages": USER},
    "/stream": {"prompt": "Why?"},
    "/stream?stream_format=sse": {"prompt": "Why?"},
    "/conversation": {"message": "Why?"},
}


async def test_every_api_refuses_with_402_before_a_model_is_called(poor: Process) -> None:
    async with client_of(poor.url) as api:
        for path, body in ROUTES.items():
            response = await api.http.post(path, json=body)
            assert response.status_code == 402, path
            problem = response.json()
            assert problem["code"] == "budget_exceeded"
            assert "This run can use up to $0.0" in problem["error"]
            assert "$0.001 remain of $0.001 per month of the rule small" in problem["error"]
            assert problem["request_id"] == response.headers["X-Request-ID"]
        assert (await api.http.get("/history")).json()["total"] == 0


async def test_openais_sdk_raises_an_error_with_the_status_402(poor: Process) -> None:
    async with openai_client_of(poor) as client:
        for stream in (False, True):
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(model="fanout", messages=USER, stream=stream)
            assert caught.value.status_code == 402
            assert (caught.value.code, caught.value.type) == (
                "budget_exceeded",
                "insufficient_quota",
            )
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model="fanout", input="Why?")
        assert caught.value.status_code == 402


async def test_a_websocket_stays_open_after_a_refusal(poor: Process) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{poor.url}/chat") as socket:
        for _ in range(2):
            await socket.send_json({"messages": USER})
            message = await socket.receive_json(timeout=PATIENCE_S)
            assert "$0.001 remain" in message["error"]


async def test_tokens_are_refused_with_429_and_the_end_of_the_period(limited: Start) -> None:
    service = limited('tokens = "30/day"')
    async with client_of(service.url) as api:
        response = await api.http.post("/api/process", json=asking())
        assert response.status_code == 429
        assert response.json()["code"] == "rate_limited"
        assert 0 < int(response.headers["Retry-After"]) <= 86_400
        assert "30 tokens remain of 30 tokens per day" in response.json()["error"]
    async with openai_client_of(service, max_retries=5) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="fanout", messages=USER)


async def test_openais_headers_state_the_rest_of_a_token_budget(limited: Start) -> None:
    service = limited('tokens = "100000/day"')
    async with openai_client_of(service) as client:
        for stream in (False, True):
            raw = await client.chat.completions.with_raw_response.create(
                model="fanout", messages=USER, stream=stream
            )
            assert raw.headers["x-ratelimit-limit-tokens"] == "100000"
            assert 90_000 < int(raw.headers["x-ratelimit-remaining-tokens"]) < 100_000
            assert raw.headers["x-ratelimit-reset-tokens"].endswith("s")
    async with client_of(service.url) as api:
        other = await api.http.post("/api/process", json=asking())
        assert "x-ratelimit-limit-tokens" not in other.headers


async def test_a_budget_is_renewed_when_its_period_ends(limited: Start) -> None:
    service = limited('tokens = "1000/second"')
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        statuses: list[int] = []

        async def has_been_renewed() -> bool:
            statuses.extend(await asyncio.gather(*(ask(http, service.url) for _ in range(4))))
            return 429 in statuses and statuses.count(200) > 2

        await until(has_been_renewed)


async def test_a_budget_is_kept_over_a_restart(limited: Start, sqlite_url: str) -> None:
    first = limited('cost_usd = "0.05/month"', DATABASE_URL=sqlite_url)
    await ask_all(first.url, count=20, at_once=5)
    spent, _, _ = await read_budget(sqlite_url)
    first.end()
    second = limited('cost_usd = "0.05/month"', DATABASE_URL=sqlite_url)
    assert 402 in await ask_all(second.url, count=20, at_once=5)
    total, reserved, costs = await read_budget(sqlite_url)
    assert (total, reserved) == (costs, 0)
    assert 0 < spent <= total <= CENTS_5
