"""Deterministic model servers of other authors: fakellm, stubllm, aimock and mock-llm."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests._support.clients import readers
from tests._support.clients.api import Api, client_of
from tests._support.real.servers import (
    RealServer,
    run_aimock,
    run_fakellm,
    run_mock_llm,
    run_stubllm,
)
from tests._support.real.services import run_service

ANSWER = "The sky is blue because air scatters blue light: Grüße, 重力, 🌍."
CITY = {"city": "Paris"}
USER = [{"role": "user", "content": "Why is the sky blue?"}]
READERS = [readers.process, readers.chat_events, readers.completion, readers.response_events]
Run = Callable[[Path], AbstractContextManager[RealServer]]


def fakellm(folder: Path) -> AbstractContextManager[RealServer]:
    rules = [
        {
            "name": "tool",
            "when": {"messages_contain": "weather", "tools_include": "get_weather"},
            "respond": {"tool_calls": [{"name": "get_weather", "arguments": CITY}]},
        },
        {"name": "answer", "respond": {"content": ANSWER}},
    ]
    return run_fakellm(folder, {"version": 1, "rules": rules})


def stubllm(folder: Path) -> AbstractContextManager[RealServer]:
    function = {"name": "get_weather", "arguments": json.dumps(CITY)}
    call = {"id": "call_abc123", "type": "function", "function": function}
    fixtures = [
        {
            "name": "busy",
            "match": {"messages": [{"role": "user", "content": {"contains": "busy"}}]},
            "response": {"http_status": 429, "error_message": "Rate limit exceeded."},
        },
        {"name": "tool", "match": {"tools_present": True}, "response": {"tool_calls": [call]}},
        {"name": "answer", "match": {"provider": "openai"}, "response": {"content": ANSWER}},
    ]
    return run_stubllm(folder, {"fixtures": fixtures})


def aimock(folder: Path) -> AbstractContextManager[RealServer]:
    call = {"name": "get_weather", "arguments": json.dumps(CITY)}
    error = {"message": "Rate limit exceeded.", "type": "rate_limit_error"}
    fixtures = [
        {"match": {"userMessage": "busy"}, "response": {"error": error, "status": 429}},
        {"match": {"userMessage": "weather"}, "response": {"toolCalls": [call]}},
        {"match": {"userMessage": "sky"}, "response": {"content": ANSWER}},
    ]
    return run_aimock(folder, {"fixtures": fixtures})


SERVERS: dict[str, Run] = {each.__name__: each for each in (fakellm, stubllm, aimock)}


@asynccontextmanager
async def serve(run: Run, folder: Path) -> AsyncIterator[Api]:
    with run(folder) as server, run_service(folder, server.url, "gpt-4o") as process:
        async with client_of(process.url) as api:
            yield api


@pytest.mark.parametrize("name", SERVERS)
async def test_an_agents_text_is_the_servers(name: str, tmp_path: Path) -> None:
    body = {
        "model": "agent/llm-1",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    }
    async with serve(SERVERS[name], tmp_path) as api:
        for stream in (False, True):
            answer = await api.http.post("/v1/chat/completions", json={**body, "stream": stream})
            assert answer.status_code == 200, answer.text
            if not stream:
                assert answer.json()["choices"][0]["message"]["content"] == ANSWER
                continue
            data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
            deltas = [json.loads(each)["choices"][0]["delta"] for each in data]
            assert "".join(delta.get("content") or "" for delta in deltas) == ANSWER
        tool = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
        asked = [{"role": "user", "content": "What is the weather?"}]
        tools = {**body, "messages": asked, "tools": [tool]}
        called = (await api.http.post("/v1/chat/completions", json=tools)).json()["choices"][0]
        assert called["finish_reason"] == "tool_calls"
        (call,) = called["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == CITY


@pytest.mark.parametrize("run", [stubllm, aimock])
async def test_a_servers_rate_limit_is_passed_on(run: Run, tmp_path: Path) -> None:
    body = {"model": "agent/llm-1", "messages": [{"role": "user", "content": "Are you busy?"}]}
    async with serve(run, tmp_path) as api:
        refused = await api.http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 429, refused.text
    assert "Rate limit exceeded." in refused.json()["error"]["message"]


@pytest.mark.parametrize("name", SERVERS)
async def test_every_kind_of_api_delivers_the_combined_answer(name: str, tmp_path: Path) -> None:
    # The combiner's prompt contains the question and the answers.
    async with serve(SERVERS[name], tmp_path) as api:
        for reader in READERS:
            heard = await reader(api.http, "Why is the sky blue?")
            assert heard.text == ANSWER, reader.__name__


async def test_mock_llm_echoes_the_question(tmp_path: Path) -> None:
    def run(folder: Path) -> AbstractContextManager[RealServer]:
        return run_mock_llm(folder, {"streaming": {"chunkSize": 5, "chunkIntervalMs": 1}})

    async with serve(run, tmp_path) as api:
        body = {"model": "agent/llm-1", "messages": USER}
        for stream in (False, True):
            answer = await api.http.post("/v1/chat/completions", json={**body, "stream": stream})
            assert answer.status_code == 200, answer.text
            assert "sky" in answer.text


@pytest.mark.parametrize("fault", ["drop", "malformed", "disconnect", "ratelimit"])
async def test_aimocks_faults_are_failures_and_never_half_an_answer(
    fault: str, tmp_path: Path
) -> None:
    def run(folder: Path) -> AbstractContextManager[RealServer]:
        fixture = {"match": {"userMessage": "sky"}, "response": {"content": ANSWER}}
        return run_aimock(folder, {"fixtures": [fixture]}, f"--chaos-{fault}", "1")

    async with serve(run, tmp_path) as api:
        events = await api.ask("Why is the sky blue?", ensemble="solo")
    assert events[-1].data["type"] == "run.failed", events[-1].data
    assert events[-1].data["message"]
