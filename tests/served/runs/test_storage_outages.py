"""Outages of the database: locked, full, frozen or stopped.

Running answers continue, new work is refused with 503, and the service recovers automatically.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests._support.clients.api import Api, asking, assert_whole, client_of, follow, until
from tests._support.clients.recorded_streams import raw
from tests._support.llm.recorder import Recorder
from tests._support.recovery import database_faults
from tests._support.recovery.installation import Installation
from tests._support.servers.databases import Postgres
from tests._support.servers.services import Start

QUICK = {"STORE_TIMEOUT_S": "1"}


@dataclass
class Trouble:
    """An installation and what can befall its database."""

    installation: Installation
    outage: Callable[[], AbstractContextManager[None]]
    kind: str


@pytest.fixture(params=["locked", "full", "frozen", "down"])
def trouble(
    request: pytest.FixtureRequest, start: Start, recorder: Recorder, tmp_path: Path
) -> Iterator[Trouble]:
    kind = request.param
    with ExitStack() as stack:
        place = partial(Installation, start, recorder, tmp_path / "installation")
        if kind in {"locked", "full"}:
            disk = tmp_path / "disk"
            stack.enter_context(database_faults.small_disk(disk, "16m"))
            installation = place(f"sqlite:///{disk}/service.db")
            installation.settings["SPOOL_DIR"] = str(disk / "spool")
            outage = partial(database_faults.locked, disk / "service.db")
            if kind == "full":
                outage = partial(database_faults.full, disk)
        else:
            postgres: Postgres = request.getfixturevalue("postgres")
            installation = place(request.getfixturevalue("postgres_url"))
            outage = partial(
                {"frozen": database_faults.frozen, "down": database_faults.down}[kind], postgres
            )
        stack.callback(installation.end)  # before the disk goes
        yield Trouble(installation, outage, kind)


async def refused(api: Api, question: str = "Why is the sky blue?", **more: Any) -> httpx.Response:
    """Ask until it is refused: what is left of a full disk may do for a few questions."""
    while True:
        response = await api.http.post("/api/process", json=asking(question), **more)
        if response.status_code != 200:
            return response


async def health(api: Api) -> dict[str, Any]:
    response = await api.http.get("/health")
    assert response.status_code == 200
    shown: dict[str, Any] = response.json()
    return shown


async def healed(api: Api) -> None:
    async def is_well() -> bool:
        return bool((await health(api))["status"] == "ok")

    await until(is_well)


async def stored(api: Api, run_id: str) -> None:
    """Wait until the end of a run is in the database."""

    async def is_stored() -> bool:
        response = await api.http.get(f"/history/{run_id}")
        return response.status_code == 200 and response.json()["status"] == "completed"

    await until(is_stored)


async def test_running_answers_reach_their_readers_and_are_stored_after_the_outage(
    trouble: Trouble,
) -> None:
    service = trouble.installation.serve(**QUICK)
    async with client_of(service.url) as api:
        async with api.asked(ensemble="steady") as response:
            events = follow(response)
            seen = [await anext(events)]
            with trouble.outage():
                seen += [event async for event in events]
        assert_whole(seen)
        assert seen[-1].data["status"] == "Completed"
        await stored(api, seen[0].run_id)
        assert raw(await api.replayed(seen[0].run_id)) == raw(seen)
        shown = await api.shown(seen[0].run_id)
    service.crash()
    async with client_of(trouble.installation.serve().url) as api:
        assert raw(await api.replayed(seen[0].run_id)) == raw(seen)
        assert await api.shown(seen[0].run_id) == shown


async def test_new_work_is_refused_and_calls_no_model(trouble: Trouble) -> None:
    question, key = f"Why is the sky {uuid4().hex}?", {"Idempotency-Key": uuid4().hex}
    async with client_of(trouble.installation.serve(**QUICK).url) as api:
        await api.ask()
        with trouble.outage():
            await refused(api)
            response = await api.http.post("/api/process", json=asking(question), headers=key)
            assert response.status_code == 503
            assert response.json()["code"] == "storage_unavailable"
            assert int(response.headers["retry-after"]) > 0
            assert trouble.installation.models.of(question) == []
        await healed(api)
        again = await api.http.post("/api/process", json=asking(question), headers=key)
        assert again.status_code == 200, again.text
        assert trouble.installation.models.times(question) == {"one": 1, "two": 1, "joiner": 1}

        async def there_once() -> bool:
            items = (await api.http.get("/history?limit=100")).json()["items"]
            return [item["prompt"] for item in items].count(question) == 1

        await until(there_once)


async def test_the_refusal_comes_within_five_seconds_by_default(trouble: Trouble) -> None:
    del trouble.installation.settings["STORE_TIMEOUT_S"]
    async with client_of(trouble.installation.serve().url) as api:
        await api.ask()
        with trouble.outage():
            await refused(api)
            began = time.monotonic()
            posts = (api.http.post("/api/process", json=asking()) for _ in range(10))
            answers = await asyncio.gather(*posts)
            took_s = time.monotonic() - began
        assert {each.status_code for each in answers} == {503}
        assert took_s < 5 + 15  # for a busy machine; without a time-out it would be minutes


async def test_health_reports_the_store_until_it_has_recovered(trouble: Trouble) -> None:
    async with client_of(trouble.installation.serve(**QUICK).url) as api:
        await api.ask()
        assert (await health(api))["checks"]["store"] == "ok"
        with trouble.outage():
            await refused(api)
            shown = await health(api)
            assert shown["status"] == "degraded"
            assert shown["checks"]["store"] != "ok"
            assert (await api.http.get("/health/live")).status_code == 200
        await healed(api)
        assert (await health(api))["checks"]["store"] == "ok"
        assert (await api.ask())[-1].data["status"] == "Completed"


async def test_reads_continue_where_possible_and_never_hang(trouble: Trouble) -> None:
    service = trouble.installation.serve(**QUICK)
    async with client_of(service.url) as api:
        live = await api.ask(conversation_id="conv-1")
    service.crash()
    async with client_of(trouble.installation.serve(**QUICK).url) as api:
        assert (await api.ask())[-1].data["status"] == "Completed"
        paths = (
            f"/api/runs/{live[0].run_id}",
            f"/api/runs/{live[0].run_id}/events",
            "/history",
            "/search?query=sky",
            "/api/conversations",
        )
        with trouble.outage():
            await refused(api)
            statuses = {path: (await api.http.get(path)).status_code for path in paths}
        # A SQLite file can be read while it cannot be written.
        expected = 200 if trouble.kind in {"locked", "full"} else 503
        assert statuses == dict.fromkeys(paths, expected)
        await healed(api)
        assert raw(await api.replayed(live[0].run_id)) == raw(live)


# Not on a full disk, where nothing can be written down.
@pytest.mark.parametrize("trouble", ["locked", "frozen", "down"], indirect=True)
async def test_events_sent_during_an_outage_survive_a_kill(trouble: Trouble) -> None:
    service = trouble.installation.serve(**QUICK)
    async with client_of(service.url) as api, api.asked(ensemble="steady") as response:
        events = follow(response)
        seen = [await anext(events)]
        with trouble.outage():
            seen += [event async for event in events]
            service.crash()
    assert seen[-1].data["status"] == "Completed"
    async with client_of(trouble.installation.serve().url) as api:
        assert raw(await api.replayed(seen[0].run_id)) == raw(seen)
        assert (await api.shown(seen[0].run_id))["state"] == "completed"


async def test_after_an_outage_a_kill_loses_nothing(trouble: Trouble) -> None:
    service = trouble.installation.serve(**QUICK)
    async with client_of(service.url) as api:
        await api.ask()
        async with api.asked(ensemble="steady") as response:
            with trouble.outage():
                await refused(api)
                await response.aread()
        await healed(api)
        seen = []
        async with api.asked(ensemble="endless") as response:
            async for event in follow(response):
                seen.append(event)
                if len(seen) == 30:
                    service.crash()
                    break
    async with client_of(trouble.installation.serve().url) as api:
        whole = await api.replayed(seen[0].run_id)
    assert raw(whole[: len(seen)]) == raw(seen)
    assert whole[-1].data["code"] == "interrupted"


async def test_a_service_started_without_its_database_waits_for_it(
    on_postgres: Installation, postgres: Postgres
) -> None:
    service = on_postgres.serve(**QUICK)
    async with client_of(service.url) as api:
        first = await api.ask()
    service.crash()
    with database_faults.down(postgres):
        service = on_postgres.serve(**QUICK)
        async with client_of(service.url) as api:
            assert (await refused(api)).status_code == 503
            assert (await health(api))["status"] == "degraded"
            assert (await api.http.get("/health/live")).status_code == 200
    async with client_of(service.url) as api:
        await healed(api)
        assert (await api.ask())[-1].data["status"] == "Completed"
        assert raw(await api.replayed(first[0].run_id)) == raw(first)


async def test_a_database_that_was_unreachable_at_start_gets_its_tables_later(
    on_postgres: Installation, postgres: Postgres
) -> None:
    with database_faults.down(postgres):
        service = on_postgres.serve(**QUICK, MIGRATE_ON_START="true")
        async with client_of(service.url) as api:
            assert (await refused(api)).status_code == 503
    async with client_of(service.url) as api:
        await healed(api)
        assert (await api.ask())[-1].data["status"] == "Completed"


async def test_a_restarted_postgresql_is_used_again_automatically(
    on_postgres: Installation, postgres: Postgres
) -> None:
    async with client_of(on_postgres.serve().url) as api:
        first = await api.ask()
        async with api.asked(ensemble="steady") as response:
            postgres.restart()
            await response.aread()
        assert raw(await api.replayed(first[0].run_id)) == raw(first)
        answers = await asyncio.gather(*(api.ask() for _ in range(10)))
        assert {events[-1].data["status"] for events in answers} == {"Completed"}
