"""`Idempotency-Key`: a request sent again does not pay again."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx
import pytest

from tests.served.conftest import Upstream
from tests.served.wire import Api, asking, assert_whole, events_of, follow, until


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


async def test_a_key_lives_as_long_as_its_run(hasty: Api) -> None:
    again, body = key(), asking(ensemble="solo")
    first = await hasty.http.post("/api/process", json=body, headers=again)

    async def expired() -> bool:
        run_id = first.headers["x-run-id"]
        return (await hasty.http.get(f"/api/runs/{run_id}")).status_code == 410

    await until(expired)
    second = await hasty.http.post("/api/process", json=body, headers=again)
    assert second.headers["x-run-id"] != first.headers["x-run-id"]


async def test_a_refused_request_does_not_use_up_its_key(api: Api) -> None:
    again = key()
    bad = await api.http.post("/api/process", json=asking(ensemble="nope"), headers=again)
    assert bad.status_code == 400
    good = await api.http.post("/api/process", json=asking(), headers=again)
    assert good.status_code == 200
