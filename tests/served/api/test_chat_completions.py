"""`/v1/chat/completions` and `/v1/models` over a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests._support.clients.api import Api, client_of, of_type, until
from tests._support.clients.openai_requests import make_question, parse_error, user
from tests._support.llm.mock_stats import Upstream
from tests._support.recovery.installation import Installation

URL = "/v1/chat/completions"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


async def completed(
    api: Api, *messages: dict[str, Any], model: str = "fanout", **fields: Any
) -> httpx.Response:
    body = {"model": model, "messages": messages or [user()], **fields}
    return await api.http.post(URL, json=body)


async def streamed(
    api: Api, *messages: dict[str, Any], model: str = "fanout", **fields: Any
) -> list[dict[str, Any]]:
    """Return the chunks of a complete stream, which must be their frames and [DONE]."""
    response = await completed(api, *messages, model=model, stream=True, **fields)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream"
    chunks, end = frames(response.content)
    assert end == "[DONE]"
    return chunks


def frames(body: bytes) -> tuple[list[dict[str, Any]], str]:
    """Return the JSON of all events before the last, and the data of the last."""
    blocks = body.decode("ascii").replace(": ping\n", "").split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    *said, last = [block.removeprefix("data: ") for block in blocks]
    return [json.loads(each) for each in said], last


def text_of(chunks: list[dict[str, Any]]) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


# --- unstreamed answers ---


async def test_a_completion_is_the_runs_answer_with_the_usage_of_all_agents(api: Api) -> None:
    response = await completed(api)
    shown, run = response.json(), await api.shown(response.headers["x-run-id"])
    (choice,) = shown["choices"]
    assert choice["message"] == {"role": "assistant", "content": run["answer"], "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert shown["object"] == "chat.completion"
    assert shown["model"] == "fanout"
    assert shown["id"] == "chatcmpl-" + run["run_id"].removeprefix("run_")
    assert shown["usage"]["prompt_tokens"] == run["usage"]["input_tokens"]
    assert shown["usage"]["total_tokens"] == sum(
        agent["usage"]["total_tokens"] for agent in run["agents"]
    )
    assert len(run["agents"]) == 3


async def test_a_single_agent_is_a_model(api: Api) -> None:
    response = await completed(api, model="agent/llm-1")
    run = await api.shown(response.headers["x-run-id"])
    assert response.json()["model"] == run["ensemble"] == "agent/llm-1"
    assert [agent["name"] for agent in run["agents"]] == ["llm-1"]


async def test_an_answer_cut_at_the_smaller_token_limit_has_the_reason_length(api: Api) -> None:
    for limit in ("max_tokens", "max_completion_tokens"):
        response = await completed(api, model="agent/llm-1", **{limit: 3})
        assert response.json()["choices"][0]["finish_reason"] == "length"
        assert response.json()["usage"]["completion_tokens"] == 3


async def test_progress_is_included_on_request(api: Api) -> None:
    progress = (await completed(api, include_progress=True)).json()["progress"]
    assert progress[0]["type"] == "run.started"
    assert {each["source"] for each in progress} == {"service", "llm-1", "llm-2", "llm-combine"}
    assert progress[-1]["final"] is True


# --- streams ---


async def test_a_stream_has_one_id_the_role_first_and_the_finish_reason_last(api: Api) -> None:
    chunks = await streamed(api)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert choices[-1] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
    assert not any("usage" in chunk or "progress" in chunk for chunk in chunks)


async def test_the_streamed_answer_equals_the_unstreamed_one(api: Api) -> None:
    question = user(make_question())
    whole = (await completed(api, question)).json()["choices"][0]["message"]["content"]
    assert text_of(await streamed(api, question)) == whole != ""


async def test_the_usage_is_in_a_last_chunk_without_choices(api: Api) -> None:
    *chunks, last = await streamed(api, stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0
    assert {json.dumps(chunk["usage"]) for chunk in chunks} == {"null"}


async def test_progress_is_streamed_in_chunks_without_text(api: Api) -> None:
    chunks = await streamed(api, include_progress=True)
    told = [chunk for chunk in chunks if "progress" in chunk]
    types = [chunk["progress"]["type"] for chunk in told]
    assert types.count("agent.finished") == 2
    assert types[-1] == "run.finished"
    assert all(chunk["choices"][0]["delta"] == {} for chunk in told)


async def test_pings_keep_a_silent_connection_alive(hasty: Api) -> None:
    body = {"model": "hung", "messages": [user()], "stream": True}
    async with hasty.http.stream("POST", URL, json=body) as response:
        seen = b""
        async for block in response.aiter_raw():
            seen += block
            if seen.count(b": ping\n") >= 3:
                break
    assert b": ping\n\n" not in seen


# --- failures ---


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_token_has_its_status(api: Api, stream: bool) -> None:
    response = await completed(api, model="both-bad", stream=stream)
    assert response.status_code == 502
    assert parse_error(response)["type"] == "server_error"
    assert parse_error(response)["code"] == "too_few_answers"


async def test_failures_without_a_chance_of_success_tell_sdks_not_to_retry(api: Api) -> None:
    refused = await completed(api, model="agent/bad-bad-key")
    busy = await completed(api, model="agent/bad-busy")
    assert (refused.status_code, busy.status_code) == (502, 429)
    assert refused.headers["x-should-retry"] == "false"
    assert "x-should-retry" not in busy.headers


async def test_a_failure_during_the_stream_is_an_error_object_without_done(api: Api) -> None:
    response = await completed(api, model="combiner-cut", stream=True)
    chunks, last = frames(response.content)
    assert json.loads(last)["error"]["code"] == "upstream_incomplete"
    assert text_of(chunks)
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}


async def test_a_failure_during_an_unstreamed_answer_is_a_status(api: Api) -> None:
    response = await completed(api, model="combiner-cut")
    assert response.status_code == 502
    assert (await api.shown(response.headers["x-run-id"]))["answer"]


async def test_an_unknown_model_is_404_with_openais_error(api: Api) -> None:
    for name in ("nothing", "agent/nobody", "llm-1", "", "\u2028"):
        response = await completed(api, model=name or "-")
        assert response.status_code == 404
        assert parse_error(response)["code"] == "model_not_found"
        assert parse_error(response)["param"] == "model"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [user("  ")]}, None),
        ({"messages": [user("a\0b")]}, "messages.0.content"),
        ({"messages": [user([{"type": "zip"}])]}, "messages.0.content.0.type"),
        ({"messages": [user([{"type": "image_url"}])]}, "messages.0.content.0"),
        ({"messages": [{"role": "system", "content": [PICTURE]}, user()]}, "messages.0"),
        ({"messages": [{"role": "assistant", "content": [PICTURE]}, user()]}, "messages.0"),
        ({"messages": [user([{"type": "refusal", "refusal": "No"}])]}, "messages.0"),
        ({"messages": [{**user(), "tool_call_id": "1"}]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10, "max_completion_tokens": 10}, None),
        ({"stream_options": {"include_usage": True}}, None),
        ({"logprobs": True}, "logprobs"),
        ({"audio": {"voice": "x", "format": "mp3"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"top_k": 5}, "top_k"),
        ({"messages": [{**user(), "audio": {"id": "1"}}]}, "messages.0.audio"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"tools": TOOLS}, "tools"),
        ({"tool_choice": "none"}, "tool_choice"),
        ({"model": "agent/caller", "tool_choice": "required"}, "tool_choice"),
        ({"model": "agent/caller", "tools": [], "tool_choice": "auto"}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools.0.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        (
            {"messages": [user(), {"role": "assistant", "tool_calls": [{}]}]},
            "messages.1.tool_calls.0.id",
        ),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
    ],
    ids=str,
)
async def test_an_unsupported_field_is_refused_by_name(
    api: Api, upstream: Upstream, fields: dict[str, Any], param: str | None
) -> None:
    before = (await upstream.stats())["requests"]
    response = await api.http.post(URL, json={"model": "fanout", "messages": [user()], **fields})
    assert response.status_code == 400
    assert parse_error(response)["type"] == "invalid_request_error"
    assert parse_error(response)["param"] == param
    assert (await upstream.stats())["requests"] == before


async def test_a_combined_answer_has_the_requested_schema(api: Api) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["blue"]}, "why": {"type": "string"}},
        "required": ["colour", "why"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "sky", "schema": schema}}
    body = {"model": "fanout", "messages": [user()], "response_format": form}
    for stream in (False, True):
        response = await api.http.post(URL, json={**body, "stream": stream})
        assert response.status_code == 200, response.text
        assert "colour" in response.text
    plain = (await api.http.post(URL, json=body)).json()["choices"][0]["message"]["content"]
    assert json.loads(plain)["colour"] == "blue"


async def test_invalid_json_and_unknown_paths_have_openais_error_format(api: Api) -> None:
    bad = await api.http.post(URL, content=b"{", headers={"Content-Type": "application/json"})
    assert (bad.status_code, parse_error(bad)["code"]) == (400, "bad_json")
    form = await api.http.post(URL, content=b"a=b", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    assert parse_error(form)["type"] == "invalid_request_error"
    for path in ("/v1/nothing", "/v1/models/nothing", "/v1/embeddings"):
        assert parse_error(await api.http.get(path))["type"] == "invalid_request_error"
    assert parse_error(await api.http.get(URL))["code"] == "method_not_allowed"
    assert "code" in (await api.http.get("/nothing")).json()


async def test_fields_that_cannot_change_the_answer_are_accepted(api: Api) -> None:
    response = await completed(
        api,
        n=1,
        user="me",
        metadata={"a": "b"},
        store=True,
        service_tier="auto",
        logprobs=False,
        modalities=["text"],
        response_format={"type": "text"},
        tools=[],
        stop=None,
        prompt_cache_key="x",
        safety_identifier="y",
        stream_options=None,
        temperature=None,
    )
    assert response.status_code == 200, response.text


# --- models ---


async def test_models_are_the_ensembles_and_each_single_agent(api: Api) -> None:
    listed = (await api.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    names = [model["id"] for model in listed["data"]]
    assert {"fanout", "solo", "agent/llm-1"} <= set(names)
    for model in listed["data"][:3]:
        assert model.keys() == {"id", "object", "created", "owned_by"}
        assert (await api.http.get(f"/v1/models/{model['id']}")).json() == model
    assert (await api.http.get("/v1/models/agent%2Fllm-1")).json()["id"] == "agent/llm-1"


# --- requests to models ---


async def test_parameters_reach_a_single_agent_unchanged(on_postgres: Installation) -> None:
    options = {
        "temperature": 0.25,
        "top_p": 0.5,
        "seed": 7,
        "stop": ["END"],
        "presence_penalty": 0.5,
        "logit_bias": {"50256": -100},
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
    }
    async with client_of(on_postgres.serve().url) as api:
        response = await completed(api, user("Say JSON"), model="agent/one", **options)
    assert response.status_code == 200, response.text
    (asked,) = on_postgres.models.of("Say JSON")
    assert options.items() <= asked.request.items()


async def test_every_agent_gets_the_parameters_and_only_the_combiner_the_stop(
    on_postgres: Installation,
) -> None:
    question = make_question()
    async with client_of(on_postgres.serve().url) as api:
        await completed(api, user(question), temperature=0.25, stop="END")
    asked = {each.model: each.request for each in on_postgres.models.of(question)}
    assert {model: request["temperature"] for model, request in asked.items()} == {
        "one": 0.25,
        "two": 0.25,
        "joiner": 0.25,
    }
    assert {model for model, request in asked.items() if "stop" in request} == {"joiner"}


async def test_any_number_of_messages_reaches_the_model(on_postgres: Installation) -> None:
    question = make_question()
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
    ]
    for number in range(30):
        turns += [user(f"Question {number}"), {"role": "assistant", "content": f"Answer {number}"}]
    async with client_of(on_postgres.serve(MAX_EXCHANGES="2").url) as api:
        await completed(api, *turns, user(question))
    for asked in on_postgres.models.of(question):
        assert len(asked.messages) == len(turns)  # with the question; the first two are joined
        assert asked.messages[0] == {"role": "system", "content": "Be brief.\n\nBe kind."}


async def test_images_reach_the_agents_that_accept_them(installation: Installation) -> None:
    question = make_question()
    parts = [{"type": "text", "text": question}, PICTURE]
    async with client_of(installation.serve().url) as api:
        response = await completed(api, user(parts), model="half-blind")
        refused = await completed(api, user(parts), model="blind")
        follow_up = make_question()
        await completed(
            api,
            user(follow_up),
            model="agent/one",
            conversation_id=response.headers["x-conversation-id"],
        )
    asked = {each.model: each.messages[-1]["content"] for each in installation.models.of(question)}
    assert asked["one"] == parts
    assert asked["blind"][0] == parts[0]
    assert PICTURE not in asked["blind"]
    assert refused.status_code == 400
    assert parse_error(refused)["param"] == "messages"
    (later,) = installation.models.of(follow_up)
    assert later.messages[0]["content"] == parts


# --- tools ---


async def test_a_tool_call_is_returned_and_its_result_accepted(
    installation: Installation,
) -> None:
    question = make_question()
    async with client_of(installation.serve().url) as api:
        first = await completed(api, user(question), model="agent/caller", tools=TOOLS)
        (choice,) = first.json()["choices"]
        assert choice["finish_reason"] == "tool_calls"
        calls = choice["message"]["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["weather", "weather"]
        assert all(json.loads(call["function"]["arguments"]) for call in calls)
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": f"Rain {n}"}
            for n, call in enumerate(calls)
        ]
        # With all messages, as programs do, and through the stored conversation.
        second = await completed(
            api, user(question), choice["message"], *results, model="agent/caller", tools=TOOLS,
            tool_choice="none",
        )  # fmt: skip
        assert second.json()["choices"][0]["finish_reason"] == "stop"
        assert second.json()["choices"][0]["message"]["content"]
    asked = installation.models.of("Rain 1")[-1]
    assert [message["role"] for message in asked.messages] == ["user", "assistant", "tool", "tool"]
    assert asked.messages[1]["tool_calls"] == calls


async def test_the_pieces_of_a_streamed_tool_call_form_a_complete_call(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        chunks = await streamed(api, model="agent/caller", tools=TOOLS)
    pieces = [
        piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert len(pieces) > 2
    for index in (0, 1):
        mine = [piece for piece in pieces if piece["index"] == index]
        assert mine[0]["type"] == "function"
        assert mine[0]["id"]
        assert mine[0]["function"]["name"] == "weather"
        assert not any("id" in piece for piece in mine[1:])
        assert json.loads("".join(piece["function"]["arguments"] for piece in mine))
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_stored_tool_call_is_part_of_the_continued_conversation(
    installation: Installation,
) -> None:
    service = installation.serve()
    async with client_of(service.url) as api:
        first = await completed(api, model="agent/caller", tools=TOOLS)
        calls = first.json()["choices"][0]["message"]["tool_calls"]
        conversation_id = first.headers["x-conversation-id"]
        whole = (await api.http.get(f"/api/conversations/{conversation_id}")).json()
        assert [turn["role"] for turn in whole["messages"]] == ["user", "assistant"]
        assert whole["messages"][1]["tool_calls"] == calls
    service.crash()
    async with client_of(installation.serve().url) as api:
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": f"Rain {n}"}
            for n, call in enumerate(calls)
        ]
        await completed(api, *results, model="agent/one", conversation_id=conversation_id)
    asked = installation.models.of("Rain 1")[-1]
    assert asked.messages[1]["tool_calls"] == calls
    assert asked.messages[2:] == results


# --- shared with the other APIs ---


async def test_a_conversation_continues_across_apis(
    installation: Installation,
) -> None:
    one, two, three = make_question(), make_question(), make_question()
    async with client_of(installation.serve().url) as api:
        begun = await api.ask(one, conversation_id="shared-1")
        here = await completed(api, user(two), model="agent/one", conversation_id="shared-1")
        again = await api.ask(three, conversation_id="shared-1")
        whole = (await api.http.get("/api/conversations/shared-1")).json()
    assert here.headers["x-conversation-id"] == "shared-1"
    (told,) = installation.models.of(two)
    assert [text for role, text in told.turns if role == "user"] == [one, two]
    assert [turn["content"] for turn in whole["messages"][::2]] == [one, two, three]
    assert of_type(begun, "run.finished")
    assert of_type(again, "run.finished")


async def test_a_system_message_applies_to_a_stored_conversation(
    installation: Installation,
) -> None:
    first, second = make_question(), make_question()
    told = {"role": "system", "content": "Be brief."}
    async with client_of(installation.serve().url) as api:
        response = await completed(api, told, user(first), model="agent/one")
        conversation_id = response.headers["x-conversation-id"]
        for words in ("Be brief.", "Be kind."):
            system = {"role": "system", "content": words}
            await completed(
                api, system, user(second), model="agent/one", conversation_id=conversation_id
            )
    same, other = (asked.messages for asked in installation.models.of(second))
    assert [m["content"] for m in same if m["role"] == "system"] == ["Be brief."]
    assert [m["content"] for m in other if m["role"] == "system"] == ["Be kind.\n\nBe brief."]


async def test_a_retried_question_has_all_its_parameters(
    installation: Installation,
) -> None:
    question = make_question()
    parts = [{"type": "text", "text": question}, PICTURE]
    async with client_of(installation.serve().url) as api:
        response = await completed(api, user(parts), model="agent/breaking-once", temperature=0.5)
        assert response.status_code == 502
        run_id = response.headers["x-run-id"]
        retried = await api.http.post(f"/api/runs/{run_id}/retry")
        assert b"run.finished" in retried.content
    first, second = installation.models.of(question)
    assert first.request == second.request
    assert second.request["temperature"] == 0.5
    assert second.messages[-1]["content"] == parts


async def test_a_client_that_disconnects_before_an_unstreamed_answer_stops_the_run(
    hasty: Api, upstream: Upstream
) -> None:
    await until(upstream.quiet)
    with pytest.raises(httpx.ReadTimeout):
        await hasty.http.post(
            URL,
            json={"model": "endless", "messages": [user()]},
            timeout=httpx.Timeout(10, read=0.7),
        )
    await until(upstream.quiet)


async def test_an_idempotency_key_returns_the_run_that_it_started(api: Api) -> None:
    body = {"model": "steady", "messages": [user()]}
    headers = {"Idempotency-Key": uuid4().hex}
    first, second = await asyncio.gather(
        *(api.http.post(URL, json=body, headers=headers) for _ in range(2))
    )
    assert first.json() == second.json()
    again = await api.http.post(URL, json={**body, "stream": True}, headers=headers)
    assert again.headers["x-run-id"] == first.headers["x-run-id"]
    other = await api.http.post(URL, json={**body, "temperature": 0}, headers=headers)
    assert other.status_code == 422
    assert parse_error(other)["code"] == "idempotency_key_reused"
