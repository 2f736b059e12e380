"""Model servers that refuse parameters, roles and empty fields, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests._support.clients.api import Api, answer_of, client_of, of_type
from tests._support.llm.strict_server import strict_server
from tests._support.servers.services import Start

# Each agent's model refuses what its name lists.
ENSEMBLES = """
[agents.one]
model = "one-system,temperature,stream_options"
prompt = "Be brief."
temperature = 0.5
[agents.two]
model = "no-system,turns,max_tokens"
prompt = "Be kind."
stream = false
[agents.writer]
model = "one-system,empty-calls,top_p"
prompt = "Combine."
top_p = 0.5
[agents.usual]
model = "empty-calls"
stream_options = false
[agents.refused]
model = "response_format,stream"
[ensembles.fanout]
agents = ["one", "two"]
combiner = "writer"
min_answers = 2
[ensembles.usual]
strategy = "solo"
agents = ["usual"]
"""
SYSTEM = {"role": "system", "content": "Answer in French."}
DEVELOPER = {"role": "developer", "content": "Use no markup."}
QUESTION = {"role": "user", "content": "Why is the sky blue?"}


@pytest.fixture(scope="module")
def strict_url() -> Iterator[str]:
    with strict_server() as url:
        yield url


@pytest.fixture
def strict(start: Start, strict_url: str, tmp_path: Path) -> str:
    """Start a service whose agents use the strict server; return its URL.

    The address is that of the endpoint, with a query, as users copy it.
    """
    file = tmp_path / "strict.toml"
    file.write_bytes(b"\xef\xbb\xbf" + ENSEMBLES.replace("\n", "\r\n").encode())
    address = f"{strict_url}/chat/completions?api-version=1"
    return start(ENSEMBLES_FILE=str(file), LLM_BASE_URL=address).url


async def _complete(api: Api, model: str, *messages: dict[str, Any], **fields: Any) -> Any:
    body = {"model": model, "messages": [*messages, QUESTION], **fields}
    response = await api.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return json.loads(response.json()["choices"][0]["message"]["content"])


async def test_an_ensemble_adapts_to_each_of_its_servers_once(strict: str) -> None:
    async with client_of(strict) as api:
        first = await api.ask()
        second = await api.ask()
        shown = await api.shown(first[0].run_id)
    retrying = of_type(first, "agent.retrying")
    assert {each["code"] for each in retrying} == {"request_corrected"}
    assert sorted(each["source"] for each in retrying) == [
        "one", "one", "two", "two", "writer",
    ]  # fmt: skip
    assert not of_type(second, "agent.retrying")
    assert [events[-1].data["status"] for events in (first, second)] == ["Completed"] * 2
    assert "degraded" not in first[-1].data
    left_out = {each["name"]: each.get("left_out") for each in shown["agents"]}
    assert left_out == {"one": ["temperature"], "two": None, "writer": ["top_p"]}
    (answered,) = (each for each in of_type(second, "agent.finished") if each["source"] == "one")
    assert answered["left_out"] == ["temperature"]
    assert json.loads(answer_of(second))["messages"][0] == {"role": "system", "content": "Combine."}


@pytest.mark.parametrize("agent", ["one", "two", "writer", "usual"])
async def test_one_system_message_is_sent_whatever_the_caller_adds(strict: str, agent: str) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    async with client_of(strict) as api:
        received = await _complete(api, f"agent/{agent}", SYSTEM, *turns, DEVELOPER)
    first, *others = received["messages"]
    assert "Answer in French.\n\nUse no markup." in first["content"]
    assert [each["role"] for each in others][-2:] == ["assistant", "user"]
    assert "system" not in [each["role"] for each in others]


async def test_instructions_are_a_part_of_the_system_message(strict: str) -> None:
    body = {"model": "agent/one", "input": "Why?", "instructions": "Answer in French."}
    async with client_of(strict) as api:
        response = await api.http.post("/v1/responses", json=body)
    received = json.loads(response.json()["output"][0]["content"][0]["text"])
    assert received["messages"] == [
        {"role": "system", "content": "Be brief.\n\nAnswer in French."},
        {"role": "user", "content": "Why?"},
    ]


async def test_empty_fields_of_earlier_turns_are_not_sent(strict: str) -> None:
    turn: dict[str, Any] = {
        "role": "assistant",
        "content": "Hello",
        "tool_calls": [],
        "refusal": None,
    }
    async with client_of(strict) as api:
        received = await _complete(api, "agent/usual", QUESTION, turn)
    assert received["messages"][1] == {"role": "assistant", "content": "Hello"}


async def test_a_server_that_refuses_stream_options_can_be_configured(strict: str) -> None:
    async with client_of(strict) as api:
        events = await api.ask(ensemble="usual")
    assert not of_type(events, "agent.retrying")
    assert "stream_options" not in json.loads(answer_of(events))


async def test_what_determines_the_answer_is_refused_with_the_servers_sentence(strict: str) -> None:
    body = {"model": "agent/refused", "messages": [QUESTION]}
    async with client_of(strict) as api:
        response = await api.http.post(
            "/v1/chat/completions", json={**body, "response_format": {"type": "json_object"}}
        )
    assert response.status_code == 400
    assert "response_format: Extra inputs are not permitted" in response.json()["error"]["message"]
