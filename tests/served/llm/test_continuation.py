"""Answers that a model server breaks off in every way, over sockets, on every API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests._support.clients.api import Api, answer_of, client_of, of_type
from tests._support.llm.ensembles import as_toml
from tests._support.servers.breaking_server import ANSWER, BreakingServer, breaking
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

WAYS = ("reset", "close", "half_line", "half_character", "end", "error", "silence")
REPEATS = ("", "words", "sentence", "everything")
# In bytes: within 🚀, after a line end, within a word, within code.
CUTS = (50, 90, 30, 150)
CASES = {
    f"{way}-{CUTS[number % 4]}-{REPEATS[(number + number // 4) % 4] or 'nothing'}": (
        f"break={way}&at={CUTS[number % 4]}&repeat={REPEATS[(number + number // 4) % 4]}"
    )
    for number, way in enumerate(WAYS * 4)
}


@pytest.fixture(scope="module")
def breaking_server() -> Iterator[BreakingServer]:
    with breaking() as server:
        yield server


@pytest.fixture(scope="module")
def continuing(
    breaking_server: BreakingServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("breaking")
    limits = {"retries": 0, "idle_timeout_s": 0.5}
    agents: dict[str, Any] = {
        name: {"model": f"m?{options}", **limits} for name, options in CASES.items()
    }
    for number in range(6):
        agents[f"api-{number}"] = {"model": f"m{number}?break=reset&at=60&repeat=words", **limits}
    agents["told"] = {
        "model": "told?break=end&at=60&repeat=words", "continues_by": "instruction", **limits
    }  # fmt: skip
    agents["sound"] = {"model": "sound?break=none&at=0&times=0"}
    ensembles: dict[str, Any] = {
        name: {"strategy": "solo", "agents": [name]} for name in agents if name != "sound"
    }
    ensembles["fanout"] = {"agents": ["api-4"], "combiner": "api-5"}
    file = folder / "ensembles.toml"
    file.write_text('default = "fanout"\n' + as_toml(agents, ensembles, {}))
    settings = {"USE_LLM_MOCK": "false", "LLM_BASE_URL": breaking_server.url, "LLM_KEY": "a-key-9"}
    settings |= {"ENSEMBLES_FILE": str(file), **UNHURRIED_STORE}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
async def client(continuing: Process) -> AsyncIterator[Api]:
    async with client_of(continuing.url) as api:
        yield api


@pytest.mark.parametrize("name", CASES)
async def test_an_answer_that_breaks_off_is_complete(client: Api, name: str) -> None:
    events = await client.ask(ensemble=name)
    assert answer_of(events) == ANSWER
    last = events[-1].data
    assert (last["type"], last["finish_reason"]) == ("run.finished", "stop")
    assert "degraded" not in last
    (seam,) = of_type(events, "answer.continued")
    assert ANSWER[: seam["position"]] == "".join(
        each["message"] for each in of_type(events, "answer.delta") if each["seq"] < seam["seq"]
    )
    shown = await client.shown(events[0].run_id)
    assert shown["answer"] == ANSWER
    (agent,) = shown["agents"]
    assert agent["continued"] == [{key: seam[key] for key in ("position", "model", "code")}]


async def test_the_events_of_a_continued_answer_are_replayed(client: Api) -> None:
    events = await client.ask(ensemble="api-0")
    again = await client.http.get(f"/api/runs/{events[0].run_id}/events")
    assert again.text.count("answer.continued") == 1
    assert len(of_type(events, "answer.continued")) == 1


async def test_an_agent_and_the_combiner_of_one_run_are_continued(client: Api) -> None:
    events = await client.ask(ensemble="fanout")
    assert answer_of(events) == ANSWER
    assert len(of_type(events, "agent.continued")) == len(of_type(events, "answer.continued")) == 1
    assert "degraded" not in events[-1].data


async def test_a_chat_completion_continues_its_chunks(client: Api) -> None:
    body = {"model": "api-1", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    body["stream_options"] = {"include_usage": True}
    text = (await client.http.post("/v1/chat/completions", json=body)).text
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for each in chunks for choice in each["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == ANSWER
    assert len({each["id"] for each in chunks}) == 1
    assert next(each["usage"]["completion_tokens"] for each in chunks if each.get("usage")) > 40
    assert text.rstrip().endswith("data: [DONE]")


async def test_other_apis_return_the_complete_answer(client: Api) -> None:
    turn = {"model": "api-2", "messages": [{"role": "user", "content": "Why?"}]}
    completion = (await client.http.post("/v1/chat/completions", json=turn)).json()
    assert completion["choices"][0]["message"]["content"] == ANSWER
    response = await client.http.post("/v1/responses", json={"model": "api-3", "input": "Why?"})
    assert response.json()["output"][-1]["content"][0]["text"] == ANSWER


async def test_a_server_without_prefixes_gets_an_instruction(
    client: Api, breaking_server: BreakingServer
) -> None:
    events = await client.ask(ensemble="told")
    assert answer_of(events) == ANSWER
    _, second = next(
        asked for model, asked in breaking_server.requests.items() if model.startswith("told")
    )
    assert [each["role"] for each in second["messages"]][-2:] == ["assistant", "user"]
    assert (
        ANSWER.encode()[:60].decode(errors="ignore").split()[-1]
        in second["messages"][-1]["content"]
    )
