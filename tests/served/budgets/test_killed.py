"""`kill -9` between reserving and settling: a budget has what its runs have used, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests._support.clients.api import Api, asking, client_of, events_of, follow, until
from tests._support.recovery import database_faults
from tests._support.recovery.budget_state import set_budget, wait_for_settlement
from tests._support.recovery.installation import Installation
from tests._support.servers.databases import Postgres

LONGEST = 7_000  # tokens of an answer in an installation

Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def outage(installation: Installation, request: pytest.FixtureRequest) -> Outage:
    """A database that hangs, and continues after the block."""
    if installation.is_postgres:
        postgres: Postgres = request.getfixturevalue("postgres")
        return partial(database_faults.frozen, postgres)
    path = installation.database_url.removeprefix("sqlite:///")
    return partial(database_faults.locked, Path(path))


async def finish(api: Api, ensemble: str = "fanout") -> int:
    """Ask a question and return the tokens of its answer."""
    response = await api.http.post("/api/process", json=asking(ensemble=ensemble))
    usage = events_of(response.content)[-1].data["usage"]
    return int(usage["total_tokens"])


async def test_a_process_that_is_killed_while_runs_are_reserved_leaves_nothing_reserved(
    installation: Installation, outage: Outage
) -> None:
    set_budget(installation)
    service = installation.serve()
    async with client_of(service.url) as api:
        used = await finish(api)
        with outage():
            asked = len(installation.models.asked)
            waiting = [asyncio.create_task(finish(api)) for _ in range(5)]
            await asyncio.sleep(1)
            service.crash()
            for task in waiting:
                with suppress(httpx.HTTPError, KeyError, IndexError, AssertionError):
                    await task
    assert len(installation.models.asked) == asked
    async with client_of(installation.serve().url) as api:
        totals = await wait_for_settlement(installation.database_url)
        assert (totals.spent, totals.reserved) == (used, 0)
        used += await finish(api)
        totals = await wait_for_settlement(installation.database_url)
        assert (totals.spent, totals.reserved) == (used, 0)


async def test_a_process_that_is_killed_while_a_run_is_settled_has_spent_its_usage_once(
    installation: Installation, outage: Outage
) -> None:
    set_budget(installation)
    service = installation.serve()
    async with client_of(service.url) as api:
        url, body = "/api/process", asking(ensemble="steady")
        async with api.http.stream("POST", url, json=body) as response:
            events = follow(response)
            await anext(events)
            with outage():
                last = [event async for event in events][-1]
                service.crash()
    used = last.data["usage"]["total_tokens"]
    for _ in range(2):  # the second recovery finds nothing to settle
        again = installation.serve()
        totals = await wait_for_settlement(installation.database_url)
        assert (totals.spent, totals.reserved) == (used, 0)
        assert totals.stored_tokens == used
        again.crash()


async def test_a_call_in_progress_is_charged_with_its_worst_case_and_later_ones_are_released(
    installation: Installation,
) -> None:
    set_budget(installation)
    service = installation.serve()
    async with client_of(service.url) as api:
        body = asking(ensemble="hanging-once")  # one agent answers, and one is silent
        async with api.http.stream("POST", "/api/process", json=body) as response:
            async for event in follow(response):
                if event.type == "agent.finished":
                    break
            service.crash()
    installation.serve()
    totals = await wait_for_settlement(installation.database_url)
    assert totals.reserved == 0
    assert totals.interrupted == 1
    assert LONGEST < totals.spent - totals.stored_tokens < LONGEST + 200


async def test_a_drained_process_leaves_nothing_reserved(installation: Installation) -> None:
    set_budget(installation)
    service = installation.serve("--workers", "2")
    async with client_of(service.url) as api:
        asking_all = [asyncio.create_task(finish(api, "long")) for _ in range(4)]

        async def is_busy() -> bool:
            return len(installation.models.asked) >= 12

        await until(is_busy)
        service.end()
        for task in asking_all:
            with suppress(httpx.HTTPError, AssertionError):
                await task
    totals = await wait_for_settlement(installation.database_url)
    assert totals.reserved == 0
    assert totals.spent == totals.stored_tokens > 0
