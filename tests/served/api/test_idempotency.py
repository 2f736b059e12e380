"""`Idempotency-Key`: a repeated request starts and pays no second run."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx
import pytest

from tests._support.clients.api import (
    Api,
    asking,
    assert_whole,
    client_of,
    events_of,
    follow,
    until,
)
from tests._support.clients.worker_clients import connect_to_each_worker
from tests._support.llm.mock_stats import Upstream
from tests._support.recovery.installation import Installation


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


async def test_the_same_key_and_body_attaches_to_the_finished_run(
    api: Api, upstream: Upstream
) -> None:
    again, body = key(), asking()
    first = await api.http.post("/api/process", json=body, headers=again)
    before = (await upstream.stats())["requests"]
    second = await api.http.post("/api/process", json=body, headers=again)
    assert second.content == first.content
    assert second.headers["x-run-id"] == first.headers["x-run-id"]
    assert second.headers["x-conversation-id"] == first.headers["x-conversation-id"]
    assert (await upstream.stats())["requests"] == before


async def test_the_same_key_and_body_attaches_to_the_running_run(api: Api) -> None:
    again = key()
    async with api.asked(again, ensemble="steady") as first:
        events = follow(first)
        await anext(events)
        async with api.asked(again, ensemble="steady") as second:
            assert second.headers["x-run-id"] == first.headers["x-run-id"]
            assert_whole(events_of(await second.aread()))


async def test_two_posts_at_once_with_the_same_key_start_one_run(api: Api) -> None:
    again, body = key(), asking()
    posts = (api.http.post("/api/process", json=body, headers=again) for _ in range(8))
    answers = await asyncio.gather(*posts)
    assert len({each.headers["x-run-id"] for each in answers}) == 1
    assert len({each.content for each in answers}) == 1
    assert_whole(events_of(answers[0].content))


@pytest.mark.parametrize(
    "change", [{"message": "Another?"}, {"max_tokens": 7}, {"ensemble": "solo"}]
)
async def test_the_same_key_with_another_body_is_422(api: Api, change: dict[str, object]) -> None:
    again = key()
    await api.http.post("/api/process", json=asking(), headers=again)
    response = await api.http.post("/api/process", json=asking() | change, headers=again)
    assert response.status_code == 422
    assert response.json()["code"] == "idempotency_key_reused"


async def test_the_same_body_in_another_notation_is_the_same_body(api: Api) -> None:
    headers = key() | {"Content-Type": "application/json"}
    bodies = [
        b'{"message":"Hi","message_id":"1"}',
        b'{ "message_id": "1",\n "message": "\\u0048i" }',
    ]
    runs = [
        (await api.http.post("/api/process", content=body, headers=headers)).headers["x-run-id"]
        for body in bodies
    ]
    assert runs[0] == runs[1]


async def test_other_keys_start_other_runs(api: Api) -> None:
    runs = {
        (await api.http.post("/api/process", json=asking(), headers=key())).headers["x-run-id"]
        for _ in range(3)
    }
    assert len(runs) == 3


@pytest.mark.parametrize("bad", ["", "a b", "x" * 256, "\xe9", "\x7f"])
async def test_a_malformed_key_is_400(api: Api, bad: str) -> None:
    headers = httpx.Headers([(b"Idempotency-Key", bad.encode("latin-1"))])
    response = await api.http.post("/api/process", json=asking(), headers=headers)
    assert response.status_code == 400
    assert response.json()["code"] == "bad_idempotency_key"


async def test_a_key_is_forgotten_after_its_time(installation: Installation) -> None:
    again, body = key(), asking()
    async with client_of(installation.serve(IDEMPOTENCY_TTL_S="1").url) as api:
        first = await api.http.post("/api/process", json=body, headers=again)

        async def forgotten() -> bool:
            latest = await api.http.post("/api/process", json=body, headers=again)
            assert latest.status_code == 200
            return latest.headers["x-run-id"] != first.headers["x-run-id"]

        await until(forgotten)
        assert (await api.shown(first.headers["x-run-id"]))["state"] == "completed"


async def test_events_are_kept_for_as_long_as_a_key_may_ask_for_them(
    installation: Installation,
) -> None:
    again, body = key(), asking()
    async with client_of(installation.serve(RUN_RETENTION_S="1").url) as api:
        first = await api.http.post("/api/process", json=body, headers=again)
        keyless = (await api.ask())[0].run_id

        async def expired() -> bool:
            return (await api.http.get(f"/api/runs/{keyless}/events")).status_code == 410

        await until(expired)
        late = await api.http.post("/api/process", json=body, headers=again)
        assert late.content == first.content


async def test_a_key_is_known_after_a_restart(installation: Installation) -> None:
    again, body = key(), asking()
    service = installation.serve()
    async with client_of(service.url) as api:
        first = await api.http.post("/api/process", json=body, headers=again)
    service.crash()
    asked = len(installation.models.asked)
    async with client_of(installation.serve().url) as api:
        second = await api.http.post("/api/process", json=body, headers=again)
        other = await api.http.post("/api/process", json=asking("Other?"), headers=again)
    assert second.content == first.content
    assert second.headers["x-run-id"] == first.headers["x-run-id"]
    assert second.headers["x-conversation-id"] == first.headers["x-conversation-id"]
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(installation.models.asked) == asked


async def test_posts_at_once_to_all_workers_with_the_same_key_start_one_run(
    installation: Installation,
) -> None:
    service = installation.serve("--workers", "2")
    async with connect_to_each_worker(service) as clients:
        for _ in range(5):
            again, body = key(), asking(f"Why is the sky blue, {uuid4().hex}?")
            posts = (api.http.post("/api/process", json=body, headers=again) for api in clients)
            answers = await asyncio.gather(*posts)
            assert {each.status_code for each in answers} == {200}
            assert len({each.headers["x-run-id"] for each in answers}) == 1
            assert len({each.content for each in answers}) == 1
            assert_whole(events_of(answers[0].content))
            times = installation.models.times(str(body["message"]))
            assert times == {"one": 1, "two": 1, "joiner": 1}


async def test_any_worker_attaches_to_the_running_run_and_refuses_another_body(
    installation: Installation,
) -> None:
    service = installation.serve("--workers", "2")
    again = key()
    async with (
        connect_to_each_worker(service) as clients,
        clients[0].asked(again, ensemble="steady") as first,
    ):
        events = follow(first)
        seen = [await anext(events)]
        body = asking(ensemble="steady")
        posts = (api.http.post("/api/process", json=body, headers=again) for api in clients[1:])
        reading = asyncio.gather(*posts)
        for api in clients[1:]:
            other = await api.http.post("/api/process", json=asking("Other?"), headers=again)
            assert other.status_code == 422
        seen += [event async for event in events]
        for each in await reading:
            assert each.content == b"".join(event.raw for event in seen)


async def test_posts_at_once_with_the_same_key_and_other_bodies_start_one_run(
    installation: Installation,
) -> None:
    service = installation.serve("--workers", "2")
    again = key()
    async with connect_to_each_worker(service) as clients:
        posts = (
            api.http.post("/api/process", json=asking(f"Question {number}?"), headers=again)
            for number, api in enumerate(clients)
        )
        statuses = [response.status_code for response in await asyncio.gather(*posts)]
    assert sorted(statuses) == [200] + [422] * (len(statuses) - 1)


async def test_a_key_of_a_cancelled_run_replays_it(installation: Installation) -> None:
    again = key()
    async with client_of(installation.serve().url) as api:
        async with api.asked(again, ensemble="endless") as response:
            events = follow(response)
            run_id = (await anext(events)).run_id
            await api.http.post(f"/api/runs/{run_id}/cancel")
        body = asking(ensemble="endless")
        second = await api.http.post("/api/process", json=body, headers=again)
    assert second.headers["x-run-id"] == run_id
    assert events_of(second.content)[-1].data["code"] == "cancelled"


async def test_a_refused_request_does_not_use_up_its_key(api: Api) -> None:
    again = key()
    bad = await api.http.post("/api/process", json=asking(ensemble="nope"), headers=again)
    assert bad.status_code == 400
    good = await api.http.post("/api/process", json=asking(), headers=again)
    assert good.status_code == 200
