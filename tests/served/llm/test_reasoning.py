"""The reasoning of models on every API, over sockets: shown where it was requested, never stored.

It is not a part of the answer, the history, the search, the combiner's prompt or the next question.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import aiohttp
import httpx
import openai
import pytest

from tests._support.clients.api import Api, answer_of, client_of, of_type
from tests._support.llm.dialect_server import Dialect, chunk, document, speaking, stream
from tests._support.llm.ensembles import as_toml
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

THOUGHT, ANSWER = "secret", "Four."


@pytest.fixture(scope="module")
def thinker() -> Iterator[Dialect]:
    with speaking(Dialect()) as served:
        yield served


@pytest.fixture(scope="module")
def thinking_service(
    thinker: Dialect, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("reasoning")
    file = folder / "ensembles.toml"
    names = ("one", "two", "combiner")
    agents: dict[str, Any] = {name: {"model": name, "retries": 0} for name in names}
    agents["whole"] = {**agents["one"], "stream": False}
    agents["open"] = {**agents["one"], "think_tags": "open"}
    agents["off"] = {**agents["one"], "think_tags": "off"}
    ensembles: dict[str, Any] = {
        "fanout": {"agents": ["one", "two"], "combiner": "combiner"},
        **{f"alone-{name}": {"strategy": "solo", "agents": [name]} for name in ("one", "open")},
    }
    file.write_text(as_toml(agents, ensembles, {}))
    settings = {"USE_LLM_MOCK": "false", "LLM_BASE_URL": thinker.url, "LLM_KEY": "any-key-at-all"}
    settings |= {"ENSEMBLES_FILE": str(file), **UNHURRIED_STORE}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


NAMED: dict[str, Sequence[bytes]] = {
    name: [chunk(**{name: THOUGHT}), chunk(ANSWER)]
    for name in (
        "reasoning_content",
        "reasoning",
        "reasoning_text",
        "thinking",
        "thought",
        "thoughts",
        "cot_summary_thinking",
    )
}
NAMED |= {
    "reasoning_details": [
        chunk(reasoning_details=[{"type": "reasoning.text", "text": THOUGHT, "format": "x"}]),
        chunk(reasoning_details=[{"type": "reasoning.encrypted", "data": "c2Vj"}]),
        chunk(ANSWER),
    ],
    "a summary": [
        chunk(reasoning_details=[{"type": "reasoning.summary", "summary": THOUGHT}]),
        chunk(ANSWER),
    ],
    "an object": [chunk(reasoning={"content": THOUGHT, "tokens": 3}), chunk(ANSWER)],
    "two names": [chunk(reasoning=THOUGHT, reasoning_content=THOUGHT), chunk(ANSWER)],
    "parts": [
        chunk([{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}]),
        chunk([{"type": "text", "text": ANSWER}]),
    ],
}
_TAGGED = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
NAMED |= {
    "tags in one piece": [chunk(_TAGGED)],
    "tags in characters": [chunk(each) for each in _TAGGED],
    "other tags": [chunk("<thought>"), chunk(THOUGHT), chunk("</thought>\n"), chunk(ANSWER)],
    "only a closing tag": [chunk(f"{THOUGHT}\n</think>\n\n{ANSWER}")],
}

CLOSED_LATE = [chunk(each) for each in (THOUGHT, "\n</thi", "nk>\n\n", ANSWER)]


@pytest.fixture
async def client(thinking_service: Process, thinker: Dialect) -> AsyncIterator[Api]:
    good = stream(chunk(reasoning_content=THOUGHT), chunk(ANSWER), chunk(finish="stop"))
    thinker.answers, thinker.requests = dict.fromkeys(("one", "two", "combiner"), good), []
    async with client_of(thinking_service.url) as api:
        yield api


def _reasoning_of(events: Any, kind: str) -> dict[str, str]:
    """Return the reasoning in events of a type, by their source."""
    found: dict[str, str] = {}
    for each in of_type(events, kind):
        assert each["status"] == "Reasoning"
        found[each["source"]] = found.get(each["source"], "") + each["message"]
    return found


@pytest.mark.parametrize("name", NAMED)
async def test_reasoning_under_any_name_is_no_part_of_the_answer(
    client: Api, thinker: Dialect, name: str
) -> None:
    thinker.answers["one"] = stream(*NAMED[name], chunk(finish="stop"))
    events = await client.ask(ensemble="alone-one", stream_reasoning=True)
    assert answer_of(events) == ANSWER
    assert _reasoning_of(events, "answer.reasoning")["one"].strip() == THOUGHT
    shown = await client.shown(events[0].run_id)
    assert shown["answer"] == shown["agents"][0]["answer"] == ANSWER
    assert shown["agents"][0]["reasoning"].strip() == THOUGHT


async def test_a_closing_tag_after_sent_text_recalls_it(client: Api, thinker: Dialect) -> None:
    thinker.answers["one"] = stream(*CLOSED_LATE, chunk(finish="stop"))
    events = await client.ask(ensemble="alone-one", stream_reasoning=True)
    types = [event.type for event in events]
    reset = types.index("answer.reset")
    assert answer_of(events[reset:]) == ANSWER
    assert (await client.shown(events[0].run_id))["answer"] == ANSWER
    assert _reasoning_of(events, "answer.reasoning")["one"].strip() == THOUGHT


async def test_text_of_a_template_that_opens_the_tag_is_never_sent_as_the_answer(
    client: Api, thinker: Dialect
) -> None:
    thinker.answers["one"] = stream(*CLOSED_LATE, chunk(finish="stop"))
    events = await client.ask(ensemble="alone-open", stream_reasoning=True)
    assert not of_type(events, "answer.reset")
    assert answer_of(events) == ANSWER


async def test_reasoning_of_all_agents_is_sent_when_requested(
    client: Api,
) -> None:
    events = await client.ask(ensemble="fanout", stream_reasoning=True)
    assert _reasoning_of(events, "agent.reasoning") == {"one": THOUGHT, "two": THOUGHT}
    assert _reasoning_of(events, "answer.reasoning") == {"combiner": THOUGHT}
    assert not of_type(events, "agent.delta")


async def test_without_a_request_reasoning_is_stored_with_the_run_but_not_sent(
    client: Api, thinker: Dialect
) -> None:
    events = await client.ask(ensemble="fanout")
    assert not of_type(events, "agent.reasoning", "answer.reasoning")
    shown = await client.shown(events[0].run_id)
    assert [each["reasoning"] for each in shown["agents"]] == [THOUGHT] * 3
    assert THOUGHT not in thinker.requests[-1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    "chunks",
    [NAMED["reasoning_content"], NAMED["tags in characters"], CLOSED_LATE],
    ids=["a field", "tags", "a closing tag after sent text"],
)
async def test_reasoning_is_not_in_history_search_or_the_next_question(
    client: Api, thinker: Dialect, chunks: Sequence[bytes]
) -> None:
    thinker.answers["one"] = stream(*chunks, chunk(finish="stop"))
    conversation = f"about-{len(chunks)}"
    for _ in range(2):
        events = await client.ask(ensemble="alone-one", conversation_id=conversation)
    assert THOUGHT not in json.dumps(thinker.requests[-1])
    for path in (
        f"/history/{events[0].run_id}",
        "/history?limit=2",
        f"/search?query={THOUGHT}",
        f"/api/conversations/{conversation}",
        f"/api/conversations/{conversation}/export?format=markdown",
    ):
        found = await client.http.get(path)
        assert found.status_code == 200
        text = found.text.replace(f"query={THOUGHT}", "")
        assert THOUGHT not in text, path


async def _complete(client: Api, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Why?"}], **fields}
    response = await client.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("model", ["agent/one", "fanout"])
async def test_chat_completions_have_reasoning_beside_the_content(client: Api, model: str) -> None:
    message = (await _complete(client, model)).json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == (ANSWER, THOUGHT)
    lines = (await _complete(client, model, stream=True)).text.splitlines()
    data = [line[6:] for line in lines if line.startswith("data: {")]
    deltas = [json.loads(each)["choices"][0]["delta"] for each in data]
    assert "".join(each.get("reasoning_content", "") for each in deltas) == THOUGHT
    assert "".join(each.get("content", "") for each in deltas) == ANSWER


async def test_reasoning_can_be_left_out_of_chat_completions(client: Api) -> None:
    response = await _complete(client, "agent/one", include_reasoning=False)
    assert "reasoning_content" not in response.json()["choices"][0]["message"]
    streamed = await _complete(client, "agent/one", include_reasoning=False, stream=True)
    assert THOUGHT not in streamed.text


async def test_an_answer_that_is_not_streamed_has_its_reasoning(
    client: Api, thinker: Dialect
) -> None:
    thinker.answers["one"] = [document(ANSWER, reasoning_content=THOUGHT)]
    message = (await _complete(client, "agent/whole")).json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == (ANSWER, THOUGHT)


@pytest.mark.parametrize("model", ["agent/one", "fanout"])
async def test_responses_have_an_item_of_reasoning(
    thinking_service: Process, client: Api, model: str
) -> None:
    sdk = openai.AsyncOpenAI(base_url=f"{thinking_service.url}/v1", api_key="x", max_retries=0)
    async with sdk:
        response = await sdk.responses.create(model=model, input="Why?")
        reasoning, message = response.output
        assert reasoning.type == "reasoning"
        assert reasoning.content is not None
        assert [part.text for part in reasoning.content] == [THOUGHT]
        assert message.type == "message"
        assert response.output_text == ANSWER
        events = [
            event
            async for event in await sdk.responses.create(model=model, input="Why?", stream=True)
        ]
        thoughts = [each.delta for each in events if each.type == "response.reasoning_text.delta"]
        assert "".join(thoughts) == THOUGHT
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.output_text == ANSWER
        assert [item.type for item in last.response.output] == ["reasoning", "message"]
        indexes = [each.output_index for each in events if hasattr(each, "output_index")]
        assert indexes == sorted(indexes)
        again = await sdk.responses.create(
            model=model,
            input=[
                {"role": "user", "content": "Why?"},
                *(item.model_dump(exclude_none=True) for item in response.output),  # type: ignore[list-item]
                {"role": "user", "content": "And then?"},
            ],
        )
        assert again.output_text == ANSWER


async def test_the_other_apis_have_the_answer_alone(thinking_service: Process, client: Api) -> None:
    question = {"messages": [{"role": "user", "content": "Why?"}], "ensemble": "fanout"}
    asked = {"message": "Why?", "ensemble": "fanout"}
    texts = [
        (await client.http.post("/chat", json=question)).text,
        (await client.http.post("/chat?stream=true", json=question)).text,
        (await client.http.post("/stream", json={"prompt": "Why?", "ensemble": "fanout"})).text,
        (await client.http.post("/conversation", json=asked)).text,
    ]
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{thinking_service.url}/chat") as socket,
    ):
        await socket.send_json(question)
        tokens = ""
        while "done" not in (message := await socket.receive_json()):
            tokens += message["token"]
        texts.append(tokens)
    assert all(ANSWER in text and THOUGHT not in text for text in texts)
