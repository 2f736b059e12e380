"""Answers of model servers that deviate from OpenAI's, over sockets: of an agent, and in a fan-out.

Only the text, its end, its tool calls and errors decide; each deviation here leaves a good answer,
or is reported as a failure or a cut.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import aiohttp
import httpx
import pytest

from tests._support.clients.api import Api, answer_of, client_of, of_type
from tests._support.llm.dialect_server import (
    EVENTS,
    JSON,
    Dialect,
    chunk,
    document,
    encode_event,
    speaking,
    stream,
)
from tests._support.llm.ensembles import as_toml
from tests._support.servers.processes import Process, run_server
from tests._support.servers.services import UNHURRIED_STORE

ANSWER = "The answer"
GOOD = stream(chunk("Good."), chunk(finish="stop"))


@pytest.fixture(scope="module")
def dialect() -> Iterator[Dialect]:
    with speaking(Dialect()) as served:
        yield served


@pytest.fixture(scope="module")
def dialect_service(
    dialect: Dialect, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("dialects")
    file = folder / "ensembles.toml"
    agents: dict[str, Any] = {
        name: {"model": name, "retries": 0} for name in ("one", "two", "combiner")
    }
    agents["whole"] = {"model": "one", "retries": 0, "stream": False}
    ensembles: dict[str, Any] = {
        "fanout": {"agents": ["one", "two"], "combiner": "combiner"},
        "alone": {"strategy": "solo", "agents": ["one"]},
    }
    file.write_text(as_toml(agents, ensembles, {}))
    settings = {"USE_LLM_MOCK": "false", "LLM_BASE_URL": dialect.url, "LLM_KEY": "any-key-at-all"}
    settings |= {"ENSEMBLES_FILE": str(file), **UNHURRIED_STORE}
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
async def client(dialect_service: Process, dialect: Dialect) -> AsyncIterator[Api]:
    dialect.answers = {"one": GOOD, "two": GOOD, "combiner": GOOD}
    dialect.content_type, dialect.headers, dialect.requests = EVENTS, {}, []
    async with client_of(dialect_service.url) as api:
        yield api


async def _complete(client: Api, model: str = "agent/one", **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Why?"}], **fields}
    return await client.http.post("/v1/chat/completions", json=body)


async def _text_of(client: Api, model: str = "agent/one", **fields: Any) -> str:
    response = await _complete(client, model, **fields)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def _usage(value: Any) -> bytes:
    return encode_event({"choices": [], "usage": value})


def _with(**fields: Any) -> bytes:
    """Return a chunk with ANSWER and these fields beside the choices."""
    return encode_event({"choices": [{"index": 0, "delta": {"content": ANSWER}}], **fields})


TOLERATED: dict[str, Sequence[bytes]] = {
    "content parts": [
        chunk([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
        chunk([{"type": "text", "text": ANSWER}]),
    ],
    "usage with strings": [chunk(ANSWER), _usage({"prompt_tokens": "10"})],
    "usage with floats": [chunk(ANSWER), _usage({"prompt_tokens": 10.0})],
    "usage as a list": [chunk(ANSWER), _usage([])],
    "usage details as a list": [chunk(ANSWER), _usage({"prompt_tokens_details": []})],
    "usage of huge counts": [
        chunk(ANSWER),
        _usage({"prompt_tokens": 10**25, "completion_tokens": 2**40}),
    ],
    "index null": [encode_event({"choices": [{"index": None, "delta": {"content": ANSWER}}]})],
    "reasoning as an object": [chunk(ANSWER, reasoning={"tokens": 3})],
    "model as an object": [_with(model={"name": "x"}, id=[1], created="now", object=7)],
    "choices of null": [encode_event({"choices": [None]}), chunk(ANSWER)],
    "data null": [b"data: null\n\n", chunk(ANSWER)],
    "data of words": [b'data: "ping"\n\n', b"data: ping\n\n", chunk(ANSWER)],
    "NaN beside the text": [
        b'data: {"choices":[{"delta":{"content":"The answer"},"logprobs":NaN}]}\n\n'
    ],
    "a raw line feed in a field": [
        b'data: {"x":"\x01","choices":[{"delta":{"content":"The answer"}}]}\n\n'
    ],
}


@pytest.mark.parametrize("name", TOLERATED)
async def test_fields_that_do_not_decide_cannot_fail_an_answer(
    client: Api, dialect: Dialect, name: str
) -> None:
    dialect.answers["one"] = stream(*TOLERATED[name], chunk(finish="stop"))
    assert await _text_of(client) == ANSWER
    events = await client.ask(ensemble="alone")
    assert answer_of(events) == ANSWER


@pytest.mark.parametrize("fields", [{"prompt_tokens": "ten"}, {}, {"completion_tokens": -1}])
async def test_a_usage_that_cannot_be_true_is_estimated(
    client: Api, dialect: Dialect, fields: dict[str, Any]
) -> None:
    dialect.answers["one"] = stream(chunk(ANSWER), chunk(finish="stop"), _usage(fields))
    usage = (await _complete(client)).json()["usage"]
    assert usage["estimated"] is True
    assert usage["completion_tokens"] > 0


@pytest.mark.parametrize(
    "after",
    [
        [None],
        [*[b": heartbeat\n\n"] * 50, None],
        [b"data: {oops\n\n", None],
        [encode_event({"error": {"message": "late"}}), None],
        [],
    ],
    ids=["silence", "heartbeats", "garbage", "an error", "end of file"],
)
async def test_an_answer_has_ended_with_its_reason_whatever_follows(
    client: Api, dialect: Dialect, after: list[bytes | None]
) -> None:
    dialect.answers["one"] = [chunk(ANSWER), chunk(finish="stop"), *after]
    response = await _complete(client)
    assert response.json()["choices"][0]["message"]["content"] == ANSWER
    assert response.json()["choices"][0]["finish_reason"] == "stop"


async def test_a_usage_after_the_reason_is_counted(client: Api, dialect: Dialect) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    dialect.answers["one"] = [chunk(ANSWER), chunk(finish="stop"), _usage(usage), None]
    shown = (await _complete(client)).json()["usage"]
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == (7, 3)
    assert "estimated" not in shown


FORMATS: dict[str, tuple[str, bytes]] = {
    "stream as JSON": (JSON, b"".join(GOOD)),
    "stream as text": ("text/plain", b"".join(GOOD)),
    "stream after blank lines and a mark": (JSON, b"\xef\xbb\xbf" + b"".join(GOOD)),
    "JSON as text": ("text/plain", document("Good.")),
    "JSON as a stream": (EVENTS, document("Good.")),
    "JSON in capitals": ("Application/JSON; Charset=UTF-8", document("Good.")),
    "JSON after blank space and a mark": (JSON, b"\xef\xbb\xbf \r\n" + document("Good.")),
    "JSON in many lines": (
        EVENTS,
        json.dumps(json.loads(document("Good.")), indent=2).encode(),
    ),
    "JSON lines": ("application/x-ndjson", b"".join(GOOD[:2]).replace(b"data: ", b"")),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("model", ["agent/one", "agent/whole"])
async def test_the_first_bytes_of_a_body_decide_its_format(
    client: Api, dialect: Dialect, name: str, model: str
) -> None:
    dialect.content_type, body = FORMATS[name]
    dialect.answers["one"] = [body]
    assert await _text_of(client, model) == "Good."


@pytest.mark.parametrize("label", ["gzip", "GZIP", "Identity", ""])
async def test_a_compressed_body_is_read(client: Api, dialect: Dialect, label: str) -> None:
    body = gzip.compress(b"".join(GOOD))
    dialect.headers = {"Content-Encoding": label}
    dialect.answers["one"] = [body[:9], body[9:]]
    assert await _text_of(client) == "Good."


@pytest.mark.parametrize("label", ["Identity", "IDENTITY", ""])
async def test_any_spelling_of_no_coding_is_accepted(
    client: Api, dialect: Dialect, label: str
) -> None:
    dialect.headers = {"Content-Encoding": label}
    assert await _text_of(client) == "Good."


@pytest.mark.parametrize("reason", ["error", "abort", "network_error", "CANCELLED"])
async def test_a_reason_that_means_failure_fails_the_answer_with_its_text_as_partial(
    client: Api, dialect: Dialect, reason: str
) -> None:
    broken = stream(chunk("half of it"), chunk(finish=reason))
    dialect.answers["one"] = broken
    response = await _complete(client)
    assert response.status_code == 502
    assert reason in response.json()["error"]["message"]
    events = await client.ask(ensemble="fanout")
    (failed,) = of_type(events, "agent.failed")
    assert (failed["source"], failed["partial"], failed["finish_reason"]) == ("one", True, "error")
    assert "[one] (cut off before it was complete" in dialect.prompt_of("combiner")
    dialect.answers |= {"one": GOOD, "combiner": broken}
    last = (await client.ask(ensemble="fanout"))[-1].data
    assert (last["type"], last["partial"]) == ("run.failed", True)


async def test_a_cut_off_answer_is_reported_to_the_combiner_and_in_events_and_the_run(
    client: Api, dialect: Dialect
) -> None:
    dialect.answers |= {
        "one": stream(chunk("Filtered"), chunk(finish="SAFETY")),
        "two": stream(chunk("Too long"), chunk(finish="max_tokens")),
        "combiner": stream(chunk("Also too long"), chunk(finish="MAX_TOKENS")),
    }
    events = await client.ask(ensemble="fanout")
    finished = {each["source"]: each["finish_reason"] for each in of_type(events, "agent.finished")}
    assert finished == {"one": "content_filter", "two": "length"}
    assert events[-1].data["finish_reason"] == "length"
    prompt = dialect.prompt_of("combiner")
    assert "[one] (cut off before it was complete: a content filter stopped it)" in prompt
    assert "[two] (cut off before it was complete: it reached its limit of tokens)" in prompt
    shown = await client.shown(events[0].run_id)
    assert [each["finish_reason"] for each in shown["agents"]] == [
        "content_filter",
        "length",
        "length",
    ]
    assert shown["finish_reason"] == "length"


async def test_a_cut_off_answer_is_reported_by_openais_apis(client: Api, dialect: Dialect) -> None:
    dialect.answers["combiner"] = stream(chunk("Too long"), chunk(finish="MAX_TOKENS"))
    completion = (await _complete(client, "fanout")).json()
    assert completion["choices"][0]["finish_reason"] == "length"
    *_, last, done, _ = (await _complete(client, "fanout", stream=True)).text.split("\n\n")
    assert done == "data: [DONE]"
    assert json.loads(last.removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    response = await client.http.post("/v1/responses", json={"model": "fanout", "input": "Why?"})
    assert response.json()["status"] == "incomplete"
    assert response.json()["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_cut_off_answer_is_reported_by_every_other_api(
    dialect_service: Process, client: Api, dialect: Dialect
) -> None:
    dialect.answers["combiner"] = stream(chunk("Too long"), chunk(finish="MAX_TOKENS"))
    chat = {"messages": [{"role": "user", "content": "Why?"}], "conversation_id": "cut"}
    answered = await client.http.post("/chat", json=chat)
    assert answered.json()["finish_reason"] == "length"
    asked = {"message": "Why?", "session_id": "cut"}
    whole = await client.http.post("/conversation", json={**asked, "stream": False})
    assert whole.json()["finish_reason"] == "length"
    named = await client.http.post("/conversation", json=asked)
    assert '"finish_reason": "length"' in named.text.split("event: done")[1]
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{dialect_service.url}/chat") as socket,
    ):
        await socket.send_json(chat)
        while "done" not in (message := await socket.receive_json()):
            pass
    assert message["finish_reason"] == "length"
    run_id = answered.headers["X-Run-Id"]
    assert (await client.http.get(f"/history/{run_id}")).json()["finish_reason"] == "length"
    stored = (await client.http.get("/api/conversations/cut")).json()["messages"]
    marks = [each.get("finish_reason") for each in stored if each["role"] == "assistant"]
    assert marks == ["length"] * 4
    exported = await client.http.get("/api/conversations/cut/export?format=markdown")
    assert "cut off: it reached its limit of tokens" in exported.text


async def test_a_complete_answer_has_no_mark(client: Api) -> None:
    chat = {"messages": [{"role": "user", "content": "Why?"}]}
    assert (await client.http.post("/chat", json=chat)).json() == {"response": "Good."}


async def test_tokens_used_up_by_reasoning_are_reported_and_not_to_be_retried(
    client: Api, dialect: Dialect
) -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 1024,
        "completion_tokens_details": {"reasoning_tokens": 1024},
    }
    dialect.answers["one"] = stream(chunk(finish="length"), _usage(usage))
    response = await _complete(client)
    error = response.json()["error"]
    assert "used all of its 1024 tokens before any text; raise MAX_TOKENS" in error["message"]
    assert error["code"] == "tokens_used_up"
    assert response.headers["x-should-retry"] == "false"
    (failed,) = of_type(await client.ask(ensemble="alone"), "agent.failed")
    assert (failed["code"], failed["finish_reason"]) == ("tokens_used_up", "length")


CALLS: list[dict[str, Any]] = [
    {"id": "a1", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}},
    {"id": 2, "function": {"name": "get_time", "arguments": '{"city":"Rome"}'}},
]
SIGNED = {"google": {"thought_signature": "c2ln"}}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get_weather", "get_time")
]


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("indexes", [{}, {"index": 0}])
async def test_tool_calls_in_any_shape_become_openais(
    client: Api, dialect: Dialect, is_streamed: bool, indexes: dict[str, Any]
) -> None:
    calls: list[dict[str, Any]] = [{**each, **indexes} for each in CALLS]
    calls[0]["extra_content"] = SIGNED
    if is_streamed:
        chunks = [chunk(tool_calls=[each]) for each in calls]
        dialect.answers["one"] = stream(*chunks, chunk(finish="tool_calls"))
    else:
        dialect.answers["one"] = [document(tool_calls=calls, finish="tool_calls")]
    model = "agent/one" if is_streamed else "agent/whole"
    answer = (await _complete(client, model, tools=TOOLS)).json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    first, second = answer["message"]["tool_calls"]
    assert (first["id"], second["id"]) == ("a1", "2")
    assert json.loads(first["function"]["arguments"]) == {"city": "Paris"}
    assert json.loads(second["function"]["arguments"]) == {"city": "Rome"}
    assert first["extra_content"] == SIGNED


async def test_the_signature_of_a_call_is_sent_back_with_its_result(
    client: Api, dialect: Dialect
) -> None:
    call = {**CALLS[1], "id": "b2", "extra_content": SIGNED}
    dialect.answers["one"] = stream(chunk(tool_calls=[call]), chunk(finish="tool_calls"))
    message = (await _complete(client, tools=TOOLS)).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": "b2", "content": "Noon."}
    question = {"role": "user", "content": "Why?"}
    dialect.answers["one"] = GOOD
    await _text_of(client, messages=[question, message, result], tools=TOOLS)
    sent = dialect.requests[-1]["messages"][1]
    assert sent["tool_calls"][0]["extra_content"] == SIGNED


async def test_the_signature_of_a_stored_call_is_sent_back_with_its_result(
    client: Api, dialect: Dialect
) -> None:
    call = {**CALLS[1], "id": "b2", "extra_content": SIGNED}
    dialect.answers["one"] = stream(chunk(tool_calls=[call]), chunk(finish="tool_calls"))
    tools = [{"type": "function", **each["function"]} for each in TOOLS]
    body = {"model": "agent/one", "input": "Why?", "tools": tools}
    first = (await client.http.post("/v1/responses", json=body)).json()
    assert first["output"][0]["extra_content"] == SIGNED
    dialect.answers["one"] = GOOD
    result = {"type": "function_call_output", "call_id": "b2", "output": "Noon."}
    stored = {**body, "input": [result], "previous_response_id": first["id"]}
    resent = {**body, "input": [{"role": "user", "content": "Why?"}, *first["output"], result]}
    for following in (stored, resent):
        response = await client.http.post("/v1/responses", json=following)
        assert response.status_code == 200, response.text
        (sent,) = (m for m in dialect.requests[-1]["messages"] if m.get("tool_calls"))
        assert sent["tool_calls"][0]["extra_content"] == SIGNED
