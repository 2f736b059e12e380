"""`POST /api/runs/{id}/retry`: calls and pays only the agents without an answer."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests._support.clients.api import (
    Api,
    Event,
    answer_of,
    asking,
    assert_whole,
    client_of,
    events_of,
    follow,
    of_type,
)
from tests._support.clients.recorded_streams import raw, read_until
from tests._support.recovery.installation import Installation

NOBODY = "run_" + "0" * 32


async def retried(api: Api, run_id: str) -> tuple[httpx.Response, list[Event]]:
    response = await api.http.post(f"/api/runs/{run_id}/retry")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.content)
    assert_whole(events)
    assert events[0].run_id == response.headers["x-run-id"] != run_id
    return response, events


def reused(events: list[Event]) -> set[str]:
    return {
        str(data["source"])
        for data in of_type(events, "agent.started", "agent.finished")
        if data.get("reused") is True
    }


@pytest.mark.parametrize(
    ("ensemble", "asked_again"),
    [("failing-once", {"failing-once", "joiner"}), ("breaking-once", {"breaking-once"})],
)
async def test_a_retry_of_a_failed_run_reuses_its_answers(
    installation: Installation, ensemble: str, asked_again: set[str]
) -> None:
    question = f"Why is the sky blue, {uuid4().hex}?"
    async with client_of(installation.serve().url) as api:
        failed = await api.ask(question, ensemble=ensemble, conversation_id="conv-1")
        assert failed[-1].data["status"] == "error"
        before = installation.models.times(question)
        response, events = await retried(api, failed[0].run_id)
        shown = await api.shown(events[0].run_id)
        old = await api.shown(failed[0].run_id)
    after = installation.models.times(question)
    assert {model for model in after if after[model] > before.get(model, 0)} == asked_again
    assert all(after[model] <= before.get(model, 0) + 1 for model in after)
    assert events[-1].data["status"] == "Completed"
    assert response.headers["x-conversation-id"] == "conv-1"
    assert shown["retry_of"] == failed[0].run_id
    assert shown["state"] == "completed"
    assert shown["answer"] == answer_of(events)
    assert old["state"] == "failed"
    answered = {str(data["source"]) for data in of_type(failed, "agent.finished")}
    assert reused(events) == answered
    assert [data["source"] for data in of_type(events, "agent.finished")].count("one") == 1


async def test_a_retry_reports_only_its_own_cost(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        failed = await api.ask(ensemble="failing-once")
        _, events = await retried(api, failed[0].run_id)
        shown = await api.shown(events[0].run_id)
    total = events[-1].data
    spent = [agent for agent in shown["agents"] if agent["name"] not in reused(events)]
    assert {agent["name"] for agent in spent} == {"failing-once", "joiner"}
    tokens = sum(agent["usage"]["total_tokens"] for agent in spent)
    assert total["usage"]["total_tokens"] == shown["usage"]["total_tokens"] == tokens
    assert total["cost"] == shown["cost"] == pytest.approx(tokens)  # a dollar a token


async def test_a_retry_of_an_interrupted_run_reuses_its_answers(
    installation: Installation,
) -> None:
    question = f"Why is the sky blue, {uuid4().hex}?"
    service = installation.serve()
    async with client_of(service.url) as api:
        seen = await read_until(api, "agent.finished", message=question, ensemble="hanging-once")
        service.crash()
    async with client_of(installation.serve().url) as api:
        _, events = await retried(api, seen[0].run_id)
        old = await api.shown(seen[0].run_id)
    assert events[-1].data["status"] == "Completed"
    assert reused(events) == {"one"}
    assert installation.models.times(question) == {"one": 1, "hung-once": 2, "joiner": 1}
    assert old["state"] == "interrupted"


async def test_a_repeated_request_with_its_key_retries_an_interrupted_run(
    installation: Installation,
) -> None:
    question = f"Why is the sky blue, {uuid4().hex}?"
    key, body = {"Idempotency-Key": uuid4().hex}, asking(question, ensemble="hanging-once")
    service = installation.serve()
    async with client_of(service.url) as api:
        async with api.http.stream("POST", "/api/process", json=body, headers=key) as response:
            async for event in follow(response):
                if event.type == "agent.finished":
                    break
        service.crash()
    async with client_of(installation.serve().url) as api:
        again = await api.http.post("/api/process", json=body, headers=key)
        events = events_of(again.content)
        assert_whole(events)
        shown = await api.shown(events[0].run_id)
        once_more = await api.http.post("/api/process", json=body, headers=key)
        other = await api.http.post("/api/process", json=body | {"max_tokens": 7}, headers=key)
    assert shown["retry_of"] == response.headers["x-run-id"]
    assert events[-1].data["status"] == "Completed"
    assert once_more.content == again.content
    assert other.status_code == 422
    assert installation.models.times(question) == {"one": 1, "hung-once": 2, "joiner": 1}


async def test_a_repeated_request_with_its_key_retries_a_failed_run(
    installation: Installation,
) -> None:
    question = f"Why is the sky blue, {uuid4().hex}?"
    key, body = {"Idempotency-Key": uuid4().hex}, asking(question, ensemble="failing-once")
    async with client_of(installation.serve().url) as api:
        first = await api.http.post("/api/process", json=body, headers=key)
        second = await api.http.post("/api/process", json=body, headers=key)
        shown = await api.shown(second.headers["x-run-id"])
    assert events_of(first.content)[-1].data["status"] == "error"
    assert events_of(second.content)[-1].data["status"] == "Completed"
    assert shown["retry_of"] == first.headers["x-run-id"]
    assert installation.models.times(question)["one"] == 1


async def test_concurrent_retries_start_one_new_run(installation: Installation) -> None:
    question = f"Why is the sky blue, {uuid4().hex}?"
    service = installation.serve("--workers", "2")
    async with client_of(service.url) as api:
        failed = await api.ask(question, ensemble="failing-once")
        url = f"/api/runs/{failed[0].run_id}/retry"
        answers = await asyncio.gather(*(api.http.post(url) for _ in range(8)))
    assert {each.status_code for each in answers} == {200}
    assert len({each.headers["x-run-id"] for each in answers}) == 1
    assert len({each.content for each in answers}) == 1
    assert installation.models.times(question) == {"one": 1, "failing-once": 2, "joiner": 1}


async def test_a_retry_of_a_retry_reuses_the_answers_of_both(installation: Installation) -> None:
    question = f"Why is the sky blue, {uuid4().hex}?"
    async with client_of(installation.serve().url) as api:
        first = await api.ask(question, ensemble="failing")
        _, second = await retried(api, first[0].run_id)
        assert second[-1].data["status"] == "error"
        _, third = await retried(api, second[0].run_id)
    assert reused(third) == {"one"}
    assert installation.models.times(question) == {"one": 1, "failing": 3}


async def test_running_and_completed_runs_are_not_retried(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        running = await api.started(ensemble="endless")
        completed = (await api.ask())[0].run_id
        for run_id in (running, completed):
            refused = await api.http.post(f"/api/runs/{run_id}/retry")
            assert refused.status_code == 409, refused.text
            assert_error(refused.json())
        unknown = await api.http.post(f"/api/runs/{NOBODY}/retry")
        assert unknown.status_code == 404
        await api.http.post(f"/api/runs/{running}/cancel")


def assert_error(body: dict[str, Any]) -> None:
    assert set(body) == {"error", "code", "request_id", "trace_id"}


async def test_a_retried_run_can_be_read_and_is_not_listed(
    installation: Installation,
) -> None:
    question = f"Why is the sky blue, {uuid4().hex}?"
    async with client_of(installation.serve().url) as api:
        failed = await api.ask(question, ensemble="failing-once")
        _, events = await retried(api, failed[0].run_id)
        assert raw(await api.replayed(failed[0].run_id)) == raw(failed)
        items = (await api.http.get("/history")).json()["items"]
    assert [item["id"] for item in items] == [events[0].run_id]
