"""LiteLLM's proxy between the service and llama.cpp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests._support.clients import readers
from tests._support.clients.api import Api, client_of
from tests._support.real.servers import CONTEXT_TOKENS, LITELLM_KEY, MODEL, RealServer
from tests._support.real.services import run_service

READERS = [readers.process, readers.chat_json, readers.completion_events, readers.response]
QUESTION = "Why is the sky blue?"


@pytest.fixture
async def api(litellm: RealServer, tmp_path: Path) -> AsyncIterator[Api]:
    with run_service(tmp_path, litellm.url) as process:
        async with client_of(process.url) as api:
            yield api


@pytest.mark.parametrize("reader", READERS)
async def test_the_combined_answer_is_delivered_and_stored(
    api: Api, reader: readers.Reader
) -> None:
    heard = await reader(api.http, QUESTION)
    assert heard.text.strip()
    stored = await readers.kept(api.http, heard)
    assert stored == dict.fromkeys(stored, heard.text)


async def test_text_and_usage_are_those_of_the_proxy(litellm: RealServer, api: Api) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 20, "temperature": 0}
    headers = {"Authorization": f"Bearer {LITELLM_KEY}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        url = f"{litellm.url}/chat/completions"
        direct = (await http.post(url, json={**body, "model": MODEL})).json()
    asked = {**body, "model": "agent/llm-1"}
    answer = (await api.http.post("/v1/chat/completions", json=asked)).json()
    assert answer["choices"][0]["message"]["content"] == direct["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == direct["choices"][0]["finish_reason"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert answer["usage"][name] == direct["usage"][name], name


@pytest.mark.parametrize("stream", [True, False])
async def test_too_long_a_question_is_refused_as_one(
    litellm: RealServer, api: Api, stream: bool
) -> None:
    content = "word " * (CONTEXT_TOKENS + 500)
    messages = [{"role": "user", "content": content}]
    body = {"model": "agent/llm-1", "messages": messages, "stream": stream}
    answer = await api.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("model", "stated"), [("no-such-model", "no-such-model"), ("unreachable", "onnect")]
)
async def test_the_proxys_own_errors_reach_the_user(
    litellm: RealServer, tmp_path: Path, model: str, stated: str
) -> None:
    with run_service(tmp_path, litellm.url, model) as process:
        async with client_of(process.url) as api:
            events = await api.ask(QUESTION, ensemble="solo")
    assert events[-1].data["type"] == "run.failed"
    assert stated in events[-1].data["message"], events[-1].data


async def test_the_proxys_refusal_of_a_key_is_reported_without_the_key(
    litellm: RealServer, tmp_path: Path
) -> None:
    key = "sk-a-wrong-key-0123456789abcdef"
    with run_service(tmp_path, litellm.url, settings={"LLM_KEY": key}) as process:
        async with client_of(process.url) as api:
            events = await api.ask(QUESTION, ensemble="solo")
        assert key not in process.err
    assert events[-1].data["type"] == "run.failed"
    # Without a database the proxy cannot look the key up, and states that.
    assert "No connected db" in events[-1].data["message"], events[-1].data
    assert key not in events[-1].raw.decode()
