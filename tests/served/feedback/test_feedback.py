"""`/api/runs/{id}/feedback`: rate answers and agents, on both databases and in two processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests._support.clients.api import Api, client_of, until
from tests._support.servers.processes import Process
from tests._support.servers.services import Start

_UNKNOWN = "run_" + "0" * 32


@pytest.fixture
async def client(archive: Process) -> AsyncIterator[Api]:
    async with client_of(archive.url) as made:
        yield made


async def _rate(api: Api, run_id: str, **opinion: Any) -> httpx.Response:
    return await api.http.post(f"/api/runs/{run_id}/feedback", json=opinion)


async def _list(api: Api, run_id: str) -> list[dict[str, Any]]:
    response = await api.http.get(f"/api/runs/{run_id}/feedback")
    assert response.status_code == 200, response.text
    return [
        {name: value for name, value in each.items() if not name.endswith("_at")}
        for each in response.json()["items"]
    ]


async def test_the_answer_and_each_agent_have_one_rating(client: Api) -> None:
    run_id = (await client.ask())[0].run_id
    assert await _list(client, run_id) == []
    assert (await _rate(client, run_id, score=1)).status_code == 200
    first = (await _rate(client, run_id, agent="llm-1", thumb="up")).json()["items"]
    replaced = await _rate(
        client, run_id, thumb="down", better="llm-2", comment="Short. 短い \U0001f44d"
    )
    second = replaced.json()["items"]
    assert await _list(client, run_id) == [
        {"thumb": "down", "better": "llm-2", "comment": "Short. 短い \U0001f44d"},
        {"agent": "llm-1", "thumb": "up"},
    ]
    assert second[0]["created_at"] == first[0]["created_at"] <= second[0]["updated_at"]
    assert (await client.shown(run_id))["feedback"] == second
    for _ in range(2):
        gone = await client.http.delete(f"/api/runs/{run_id}/feedback", params={"agent": "llm-1"})
        assert gone.status_code == 204
    assert [each.get("agent") for each in await _list(client, run_id)] == [None]
    assert (await client.http.delete(f"/api/runs/{run_id}/feedback")).status_code == 204
    assert (await client.shown(run_id))["feedback"] == []


@pytest.mark.parametrize(
    ("opinion", "field"),
    [
        ({}, ""),
        ({"agent": "llm-1"}, ""),
        ({"stars": 5, "score": 1}, "stars"),
        ({"score": 1.01}, "score"),
        ({"score": -0.1}, "score"),
        ({"score": True}, "score"),
        ({"score": "1"}, "score"),
        ({"thumb": "UP"}, "thumb"),
        ({"comment": " \n"}, "comment"),
        ({"comment": "a\0b"}, "comment"),
        ({"comment": "x" * 4_001}, "comment"),
        ({"agent": "llm-9", "score": 1}, "agent"),
        ({"better": "llm-9"}, "better"),
        ({"better": "llm-1", "than": "llm-9"}, "than"),
        ({"better": "llm-1", "than": "llm-1"}, "than"),
        ({"score": 1, "than": "llm-1"}, "than"),
        ({"agent": "llm-1", "better": "llm-2"}, "better"),
    ],
)
async def test_a_rating_that_is_not_valid_is_refused_by_its_field(
    api: Api, opinion: dict[str, Any], field: str
) -> None:
    run_id = (await api.ask())[0].run_id
    response = await _rate(api, run_id, **opinion)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")
    assert field in {each["field"] for each in response.json()["details"]}
    assert await _list(api, run_id) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"up"'])
async def test_a_body_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    run_id = (await api.ask(ensemble="solo"))[0].run_id
    headers = {"Content-Type": "application/json"}
    url = f"/api/runs/{run_id}/feedback"
    assert (await api.http.post(url, content=body, headers=headers)).status_code == 400
    assert (await api.http.post(url, data={"score": "1"})).status_code == 415


async def test_an_unknown_run_has_no_feedback(api: Api) -> None:
    for method in ("GET", "POST", "DELETE"):
        body = {"score": 1} if method == "POST" else None
        response = await api.http.request(method, f"/api/runs/{_UNKNOWN}/feedback", json=body)
        assert (response.status_code, response.json()["code"]) == (404, "run_not_found")


async def test_a_running_run_cannot_be_rated_and_a_failed_one_can(api: Api) -> None:
    run_id = await api.started(ensemble="endless-answer")
    refused = await _rate(api, run_id, thumb="up")
    assert (refused.status_code, refused.json()["code"]) == (409, "run_not_finished")
    assert "feedback" not in await api.shown(run_id)
    await api.http.post(f"/api/runs/{run_id}/cancel")
    assert (await _rate(api, run_id, thumb="down")).status_code == 200
    failed = (await api.ask(ensemble="both-bad"))[0].run_id
    assert (await _rate(api, failed, agent="bad-status", score=0)).status_code in (200, 400)
    assert (await _rate(api, failed, score=0)).status_code == 200


async def test_runs_of_every_api_can_be_rated(api: Api) -> None:
    chat = [{"role": "user", "content": "Hello"}]
    asked = [
        await api.http.post("/chat", json={"messages": chat}),
        await api.http.post("/stream", json={"prompt": "Hello"}),
        await api.http.post("/conversation", json={"message": "Hello", "stream": False}),
        await api.http.post("/v1/chat/completions", json={"model": "fanout", "messages": chat}),
        await api.http.post("/v1/responses", json={"model": "agent/llm-1", "input": "Hello"}),
    ]
    for response in asked:
        rated = await _rate(api, response.headers["X-Run-Id"], score=0.5)
        assert rated.status_code == 200, rated.text


async def test_a_run_whose_events_have_expired_can_be_rated(hasty: Api) -> None:
    run_id = (await hasty.ask())[0].run_id

    async def is_expired() -> bool:
        return (await hasty.http.get(f"/api/runs/{run_id}/events")).status_code == 410

    await until(is_expired)
    assert (await _rate(hasty, run_id, agent="llm-2", score=0.5)).status_code == 200
    assert (await _rate(hasty, run_id, better="llm-9")).status_code == 400
    assert [each["agent"] for each in (await hasty.shown(run_id))["feedback"]] == ["llm-2"]


async def test_ratings_are_in_the_usage(client: Api) -> None:
    run_ids = [(await client.ask(ensemble="one-status"))[0].run_id for _ in range(2)]
    await _rate(client, run_ids[0], score=0.25, better="llm-1")
    await _rate(client, run_ids[1], thumb="up")
    await _rate(client, run_ids[1], agent="llm-1", score=0.5)

    async def show(by: str) -> dict[str, Any]:
        report = (await client.http.get("/api/usage", params={"by": by})).json()
        return {each[by]: each for each in report["items"]}

    async def is_counted() -> bool:
        return bool((await show("ensemble")).get("one-status", {}).get("ratings") == 2)

    await until(is_counted)  # the day of a run is known when its end is stored
    ensemble = (await show("ensemble"))["one-status"]
    assert (ensemble["mean_score"], ensemble["preferred"]) == (0.625, 1)
    agent = (await show("agent"))["llm-1"]
    assert (agent["ratings"], agent["mean_score"], agent["preferred"]) == (1, 0.5, 1)
    csv = await client.http.get("/api/usage", params={"by": "ensemble", "format": "csv"})
    assert csv.text.splitlines()[0].endswith("ratings,mean_score,preferred")
    page = (await client.http.get("/metrics")).text
    assert 'fanout_feedback_total{kind="better",subject="answer"} ' in page


async def test_a_run_of_another_process_can_be_rated(
    start: Start, tmp_path: Path, database_url: str
) -> None:
    settings = {"DATABASE_URL": database_url, "MIGRATE_ON_START": "true"}
    async with (
        client_of(start(**settings).url) as one,
        client_of(start(**settings).url) as other,
    ):
        run_id = (await one.ask())[0].run_id

        async def is_rated() -> bool:
            return (await _rate(other, run_id, agent="llm-1", score=1)).status_code == 200

        await until(is_rated)
        assert await _list(one, run_id) == [{"agent": "llm-1", "score": 1.0}]
        await _rate(one, run_id, agent="llm-1", score=0)
        assert await _list(other, run_id) == [{"agent": "llm-1", "score": 0.0}]
