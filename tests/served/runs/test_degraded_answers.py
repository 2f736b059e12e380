"""Degraded answers: every API names the missing agents and the reasons, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import httpx
import pytest

from tests._support.clients.api import Api, events_of, until
from tests._support.clients.named_events import named_events
from tests._support.patience import PATIENCE_S

FAILED = {"agent": "bad-status", "code": "upstream_failed"}
STRAGGLER = {"agent": "endless-1", "code": "straggler"}
BUSY = {"agent": "bad-busy", "code": "upstream_busy"}
# The fields of a degraded answer, by ensemble.
EXPECTED: Mapping[str, dict[str, Any]] = {
    "fanout": {},
    "again": {},  # an agent answered after a retry
    "one-status": {"degraded": True, "degraded_by": ["agents"], "missing": [FAILED]},
    "straggling": {"degraded": True, "degraded_by": ["agents"], "missing": [STRAGGLER]},
    "combiner-status": {"degraded": True, "degraded_by": ["combiner"]},
    "combiner-stands-in": {"degraded": True, "degraded_by": ["combiner"]},
    "all-degraded": {"degraded": True, "degraded_by": ["agents", "combiner"], "missing": [BUSY]},
}
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
USAGE = {"stream_options": {"include_usage": True}}
# Asks an ensemble; returns the response and the JSON objects that the answer's fields are in.
Ask = Callable[[Api, str], Awaitable[tuple[httpx.Response, list[dict[str, Any]]]]]


def fields_of(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a degraded answer in a JSON object."""
    return {name: shown[name] for name in ("degraded", "degraded_by", "missing") if name in shown}


async def posted(api: Api, path: str, **body: Any) -> httpx.Response:
    response = await api.http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response


def chunks(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of lines, or of events with unnamed data."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.strip()]
    return [json.loads(line) for line in lines if line.startswith("{")]


async def process(api: Api, ensemble: str) -> tuple[httpx.Response, list[dict[str, Any]]]:
    response = await posted(
        api, "/api/process", message="Why?", message_id="message_1", ensemble=ensemble
    )
    *others, last = events_of(response.content)
    assert not any(fields_of(event.data) for event in others)
    run = await api.http.get(f"/api/runs/{last.run_id}")
    return run, [last.data, run.json()]


async def chat(api: Api, ensemble: str) -> tuple[httpx.Response, list[dict[str, Any]]]:
    response = await posted(api, "/chat", messages=MESSAGES, ensemble=ensemble)
    return response, [response.json()]


async def session(api: Api, ensemble: str) -> tuple[httpx.Response, list[dict[str, Any]]]:
    response = await posted(api, "/conversation", message="Why?", ensemble=ensemble, stream=False)
    streamed = await posted(api, "/conversation", message="Why?", ensemble=ensemble)
    *others, done = named_events(streamed.content)
    assert not any(fields_of(event.data) for event in others)
    return response, [response.json(), done.data]


async def completion(api: Api, ensemble: str) -> tuple[httpx.Response, list[dict[str, Any]]]:
    response = await posted(api, "/v1/chat/completions", model=ensemble, messages=MESSAGES)
    return response, [response.json()]


async def completion_with_progress(
    api: Api, ensemble: str
) -> tuple[httpx.Response, list[dict[str, Any]]]:
    response = await posted(
        api, "/v1/chat/completions", model=ensemble, messages=MESSAGES, include_progress=True
    )
    return response, [response.json(), response.json()["progress"][-1]]


async def openai_response(api: Api, ensemble: str) -> tuple[httpx.Response, list[dict[str, Any]]]:
    response = await posted(api, "/v1/responses", model=ensemble, input="Why?")
    again = await api.http.get(f"/v1/responses/{response.json()['id']}")
    return again, [response.json(), again.json()]


@pytest.mark.parametrize(
    "ask", [process, chat, session, completion, completion_with_progress, openai_response]
)
async def test_json_names_the_missing_agents_and_the_header_marks_the_answer(
    api: Api, ask: Ask
) -> None:
    answers = await asyncio.gather(*(ask(api, ensemble) for ensemble in EXPECTED))
    for ensemble, (response, shown) in zip(EXPECTED, answers, strict=True):
        assert [fields_of(each) for each in shown] == [EXPECTED[ensemble]] * len(shown), ensemble
        assert (response.headers.get("x-degraded") == "true") == bool(EXPECTED[ensemble]), ensemble


STREAMS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "text": ("/stream", {}),
    "openai": ("/stream?stream_format=openai", {}),
    "sse": ("/stream?stream_format=sse", {}),
    "chat": ("/chat", {"stream": True}),
    "completions": ("/v1/chat/completions", {"stream": True}),
    "completions with usage": ("/v1/chat/completions", {"stream": True, **USAGE}),
    "responses": ("/v1/responses", {"stream": True}),
}
# In these the number of last objects that have the fields; plain text has only the header.
LAST = {"text": 0, "chat": 0, "completions with usage": 2}


def asking(path: str, ensemble: str) -> dict[str, Any]:
    if path.startswith("/stream"):
        return {"prompt": "Why?", "ensemble": ensemble}
    if path == "/v1/responses":
        return {"input": "Why?", "model": ensemble}
    return {"messages": MESSAGES, "ensemble" if path == "/chat" else "model": ensemble}


@pytest.mark.parametrize("name", STREAMS)
async def test_the_end_of_a_stream_names_the_missing_agents(api: Api, name: str) -> None:
    path, options = STREAMS[name]
    responses = await asyncio.gather(
        *(posted(api, path, **asking(path, ensemble), **options) for ensemble in EXPECTED)
    )
    for ensemble, response in zip(EXPECTED, responses, strict=True):
        shown = [fields_of(each.get("response", each)) for each in chunks(response.text)]
        count = LAST.get(name, 1)
        first, last = shown[: len(shown) - count], shown[len(shown) - count :]
        assert not any(first), ensemble
        assert last == [EXPECTED[ensemble]] * count, ensemble


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_that_begins_with_the_answer_has_the_header(api: Api, name: str) -> None:
    path, options = STREAMS[name]
    for ensemble in ("fanout", "one-status", "combiner-status"):
        response = await posted(api, path, **asking(path, ensemble), **options)
        assert response.headers.get("x-degraded") == ("true" if EXPECTED[ensemble] else None)


async def test_a_replayed_stream_has_the_header(api: Api) -> None:
    for ensemble, expected in EXPECTED.items():
        run_id = (await api.ask(ensemble=ensemble))[0].run_id
        response = await api.http.get(f"/api/runs/{run_id}/events")
        assert (response.headers.get("x-degraded") == "true") == bool(expected), ensemble


async def test_the_last_message_of_a_websocket_names_the_missing_agents(api: Api) -> None:
    url = api.http.base_url.join("/chat")
    async with aiohttp.ClientSession() as client, client.ws_connect(str(url)) as socket:
        for ensemble, expected in EXPECTED.items():
            await socket.send_json({"messages": MESSAGES, "ensemble": ensemble})
            message: dict[str, Any] = {"token": ""}
            while "token" in message:
                assert not fields_of(message)
                message = await socket.receive_json(timeout=PATIENCE_S)
            assert message == {"done": "true", **expected}


@pytest.mark.parametrize("ensemble", EXPECTED)
async def test_lists_and_conversations_name_the_missing_agents(api: Api, ensemble: str) -> None:
    expected, conversation = EXPECTED[ensemble], f"conv-degraded-{ensemble}"
    run_id = (await api.ask("Where are zebras?", ensemble=ensemble, conversation_id=conversation))[
        0
    ].run_id
    lists = [
        (await api.http.get(f"/history/{run_id}")).json(),
        *(await api.http.get("/history?limit=50")).json()["items"],
        *(await api.http.get("/search?query=zebras&limit=50")).json()["items"],
    ]
    found = [item for item in lists if item["id"] == run_id]
    assert [fields_of(item) for item in found] == [expected] * 3
    for path in (
        f"/api/conversations/{conversation}",
        f"/api/conversations/{conversation}/export",
        f"/conversation/session/{conversation}/history",
    ):
        question, answer = (await api.http.get(path)).json()["messages"]
        assert (fields_of(question), fields_of(answer)) == ({}, expected)
    markdown = (
        await api.http.get(f"/api/conversations/{conversation}/export?format=markdown")
    ).text
    assert ("(degraded: " in markdown) == bool(expected)
    assert all(each["agent"] in markdown for each in expected.get("missing", ()))
    assert (await api.http.delete(f"/api/conversations/{conversation}")).status_code == 204


@pytest.mark.parametrize("ensemble", ["fanout", "all-degraded"])
async def test_a_run_without_its_events_names_the_missing_agents(hasty: Api, ensemble: str) -> None:
    run_id = (await hasty.ask(ensemble=ensemble))[0].run_id
    paths = (f"/api/runs/{run_id}", f"/v1/responses/{run_id.replace('run_', 'resp_')}")

    async def are_gone() -> bool:
        return (await hasty.http.get(f"/api/runs/{run_id}/events")).status_code == 410

    await until(are_gone)
    for path in paths:
        response = await hasty.http.get(path)
        assert fields_of(response.json()) == EXPECTED[ensemble]
        assert (response.headers.get("x-degraded") == "true") == bool(EXPECTED[ensemble])
