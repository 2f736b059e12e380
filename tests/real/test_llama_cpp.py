"""llama.cpp's server with a small real model: every API, counts, cancellation, limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests._support.clients import readers
from tests._support.clients.api import Api, answer_of, assert_whole, follow, of_type, until
from tests._support.real.servers import CONTEXT_TOKENS, MODEL, SLOTS, RealServer

QUESTION = "Why is the sky blue?"
LONG: dict[str, Any] = {
    "max_tokens": 1500,
    "message": "Count from one to one thousand in words, do not stop.",
}


async def busy_slots(llama: RealServer) -> int:
    async with httpx.AsyncClient() as http:
        slots = (await http.get(f"{llama.root}/slots")).json()
    return sum(slot["is_processing"] for slot in slots)


async def wait_until_idle(llama: RealServer) -> None:
    async def is_idle() -> bool:
        return await busy_slots(llama) == 0

    await until(is_idle)


async def wait_until_busy(llama: RealServer) -> None:
    async def is_busy() -> bool:
        return await busy_slots(llama) > 0

    await until(is_busy)


@pytest.mark.parametrize("reader", readers.READERS.values(), ids=readers.READERS)
async def test_every_api_delivers_and_stores_the_combined_answer(
    llama_api: Api, reader: readers.Reader
) -> None:
    heard = await reader(llama_api.http, QUESTION)
    assert heard.text.strip()
    stored = await readers.kept(llama_api.http, heard)
    assert stored == dict.fromkeys(stored, heard.text)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_usage_is_what_the_server_counted(
    llama: RealServer, llama_api: Api, stream: bool
) -> None:
    question = {
        "model": "agent/llm-1",
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 20,
        "temperature": 0,
    }
    async with httpx.AsyncClient(base_url=llama.root, timeout=60) as http:
        direct = (await http.post("/v1/chat/completions", json={**question, "model": MODEL})).json()
    if stream:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        answer = await llama_api.http.post("/v1/chat/completions", json=question | options)
        chunks = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
        usage = json.loads(chunks[-1])["usage"]
    else:
        answer = await llama_api.http.post("/v1/chat/completions", json=question)
        usage = answer.json()["usage"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[name] == direct["usage"][name], name


async def test_a_cancelled_run_frees_the_slots_of_the_server(
    llama: RealServer, llama_api: Api
) -> None:
    await wait_until_idle(llama)
    async with llama_api.asked(**LONG) as response:
        first = await anext(follow(response))
        await wait_until_busy(llama)
        await llama_api.http.post(f"/api/runs/{first.run_id}/cancel")
        await wait_until_idle(llama)
    assert (await llama_api.ended(first.run_id))["state"] == "cancelled"


async def test_a_run_that_its_client_abandoned_frees_the_slots(
    llama: RealServer, llama_api: Api
) -> None:
    await wait_until_idle(llama)
    run_id = await llama_api.started(**LONG)
    await wait_until_busy(llama)
    await wait_until_idle(llama)
    assert (await llama_api.ended(run_id))["state"] in {"cancelled", "abandoned", "failed"}


async def test_eight_questions_at_once_are_all_answered(llama_api: Api) -> None:
    runs = await asyncio.gather(*(llama_api.ask(f"What is {n} plus {n}?") for n in range(SLOTS)))
    for events in runs:
        assert_whole(events)
        assert events[-1].data["status"] == "Completed"
        assert answer_of(events).strip()


async def test_an_answer_follows_a_json_schema(llama_api: Api) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"type": "string", "enum": ["blue", "red"]}},
        "required": ["color"],
        "additionalProperties": False,
    }
    format_ = {
        "type": "json_schema",
        "json_schema": {"name": "c", "schema": schema, "strict": True},
    }
    body = {
        "model": "agent/llm-1",
        "messages": [{"role": "user", "content": "Which color has the sky?"}],
        "response_format": format_,
    }
    answer = (await llama_api.http.post("/v1/chat/completions", json=body)).json()
    text = answer["choices"][0]["message"]["content"]
    assert json.loads(text)["color"] in {"blue", "red"}


async def test_a_stop_sequence_ends_the_answer(llama_api: Api) -> None:
    body = {
        "model": "agent/llm-1",
        "messages": [{"role": "user", "content": "Count: one two three four five six seven"}],
    }
    whole = (await llama_api.http.post("/v1/chat/completions", json=body)).json()
    text = whole["choices"][0]["message"]["content"]
    word = text.split()[2]
    stopped = (
        await llama_api.http.post("/v1/chat/completions", json={**body, "stop": word})
    ).json()
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert stopped["choices"][0]["message"]["content"] == text[: text.index(word)]


async def test_an_answer_that_reached_its_limit_is_reported_as_cut_off(llama_api: Api) -> None:
    body = {
        "model": "agent/llm-1",
        "messages": [{"role": "user", "content": "Tell me a long story."}],
        "max_tokens": 5,
    }
    answer = (await llama_api.http.post("/v1/chat/completions", json=body)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


async def test_a_question_longer_than_the_context_is_refused_with_the_servers_sentence(
    llama_api: Api,
) -> None:
    body = {
        "model": "agent/llm-1",
        "messages": [{"role": "user", "content": "word " * (CONTEXT_TOKENS + 500)}],
    }
    answer = await llama_api.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "context" in error["message"]


async def test_a_fan_out_shows_each_agents_answer_and_the_models_name(llama_api: Api) -> None:
    events = await llama_api.ask(QUESTION, stream_agents=True)
    assert_whole(events)
    finished = of_type(events, "agent.finished")
    assert {each["source"] for each in finished} == {"llm-1", "llm-2"}
    for each in finished:
        deltas = of_type(events, "agent.delta")
        text = "".join(one["message"] for one in deltas if one["source"] == each["source"])
        assert text.strip()
        assert each["usage"]["output_tokens"] > 0
