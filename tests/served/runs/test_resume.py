"""Resumed streams: from another worker, after the end of the run, after retention."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests._support.clients.api import (
    Api,
    Event,
    answer_of,
    asking,
    assert_whole,
    client_of,
    follow,
    until,
)
from tests._support.clients.recorded_streams import raw
from tests._support.clients.worker_clients import connect_to_each_worker
from tests._support.recovery.installation import Installation


async def test_any_worker_streams_a_live_run_of_another_worker(installation: Installation) -> None:
    service = installation.serve("--workers", "2")
    async with (
        connect_to_each_worker(service) as clients,
        clients[0].asked(ensemble="steady") as response,
    ):
        run_id, events = response.headers["x-run-id"], follow(response)
        whole = [await anext(events) for _ in clients]
        readers = [
            asyncio.create_task(api.replayed(run_id, f"?starting_after={after}"))
            for after, api in enumerate(clients, start=1)
        ]
        whole += [event async for event in events]
        for after, reader in enumerate(readers, start=1):
            assert raw(await reader) == raw(whole[after:])
    assert_whole(whole)
    assert whole[-1].data["status"] == "Completed"


async def test_any_worker_replays_and_returns_a_finished_run(installation: Installation) -> None:
    service = installation.serve("--workers", "2")
    async with connect_to_each_worker(service) as clients:
        live = await clients[0].ask()
        run_id = live[0].run_id
        shown = [await api.shown(run_id) for api in clients]
        assert all(each == shown[0] for each in shown)
        for cut, api in enumerate(clients):
            rest = await api.replayed(run_id, headers={"Last-Event-ID": f"{run_id}-{cut}"})
            assert raw(rest) == raw(live[cut:])


async def test_any_worker_cancels_a_run(installation: Installation) -> None:
    service = installation.serve("--workers", "2")
    async with connect_to_each_worker(service) as clients:
        for canceller in clients:
            async with clients[0].asked(ensemble="endless") as response:
                events = follow(response)
                run_id = (await anext(events)).run_id
                cancelled = await canceller.http.post(f"/api/runs/{run_id}/cancel")
                assert cancelled.status_code == 200
                assert cancelled.json()["state"] == "cancelled"
                last = [event async for event in events][-1].data
            assert (last["code"], last["final"]) == ("cancelled", True)


async def test_a_run_with_a_reader_on_another_worker_is_not_abandoned(
    installation: Installation,
) -> None:
    service = installation.serve("--workers", "2", DETACH_GRACE_S="5")

    async def followed(asker: Api, reader: Api) -> list[Event]:
        """Ask for eight seconds of answer, leave at once, and let `reader` read it."""
        run_id = await asker.started(ensemble="long")
        return await reader.replayed(run_id)

    async with connect_to_each_worker(service) as clients:
        pairs = itertools.pairwise(clients)
        for whole in await asyncio.gather(*(followed(*pair) for pair in pairs)):
            assert_whole(whole)
            assert whole[-1].data["status"] == "Completed", whole[-1]


async def test_a_run_without_a_reader_on_any_worker_is_abandoned(
    installation: Installation,
) -> None:
    service = installation.serve("--workers", "2", DETACH_GRACE_S="0.2")
    async with connect_to_each_worker(service) as clients:
        run_id = await clients[0].started(ensemble="endless")
        shown = await clients[1].ended(run_id)
        assert (shown["state"], shown["code"]) == ("cancelled", "abandoned")


async def test_events_expire_and_the_answer_stays(installation: Installation) -> None:
    service = installation.serve(RUN_RETENTION_S="1")
    async with client_of(service.url) as api:
        live = await api.ask()
        run_id = live[0].run_id

        async def expired() -> bool:
            response = await api.http.get(f"/api/runs/{run_id}/events")
            assert response.status_code in {200, 410}
            return response.status_code == 410

        await until(expired)
        attempts = [
            await api.http.get(f"/api/runs/{run_id}/events"),
            await api.http.get(f"/api/runs/{run_id}/events?starting_after=3"),
            await api.http.get(f"/api/runs/{run_id}/events", headers={"Last-Event-ID": live[2].id}),
            await api.http.post(
                "/api/process", json=asking(), headers={"Last-Event-ID": live[2].id}
            ),
        ]
        assert [each.status_code for each in attempts] == [410] * 4
        assert {each.json()["code"] for each in attempts} == {"run_expired"}
        shown = await api.shown(run_id)
    assert shown["state"] == "completed"
    assert shown["answer"] == answer_of(live)
    assert [agent["name"] for agent in shown["agents"]] == ["one", "two", "joiner"]
    assert all(agent["answer"] for agent in shown["agents"][:2])
    service.crash()
    async with client_of(installation.serve().url) as api:
        assert (await api.http.get(f"/api/runs/{run_id}/events")).status_code == 410
        assert (await api.shown(run_id))["answer"] == answer_of(live)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_run_of_a_deleted_conversation_is_unknown(
    installation: Installation, restarted: bool
) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        live = await api.ask(conversation_id="conv-1")
        kept = await api.ask(conversation_id="conv-2")
        deleted = await api.http.delete("/api/conversations/conv-1")
        assert deleted.status_code in {200, 204}
    if restarted:
        service.crash()
        service = installation.serve()
    async with client_of(service.url) as api:
        for path in ("", "/events"):
            gone = await api.http.get(f"/api/runs/{live[0].run_id}{path}")
            assert gone.status_code == 404, gone.text
        assert (await api.shown(kept[0].run_id))["state"] == "completed"


async def test_a_position_beyond_the_end_is_400_after_a_restart_too(
    installation: Installation,
) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        live = await api.ask()
    service.crash()
    async with client_of(installation.serve().url) as api:
        url = f"/api/runs/{live[0].run_id}/events"
        beyond = await api.http.get(f"{url}?starting_after={len(live) + 1}")
        assert beyond.status_code == 400
        headers = {"Last-Event-ID": live[-1].id, "Accept": "text/event-stream"}
        assert (await api.http.get(url, headers=headers)).status_code == 204
