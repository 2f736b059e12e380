"""Chat, `POST /chat`: the answer as JSON and as server-sent events, over a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from service.llm.sse_decoder import SSEDecoder
from tests._support.clients.api import Api, client_of, until
from tests._support.llm.mock_stats import Upstream
from tests._support.llm.unbounded_server import CHUNKS, TEXT
from tests._support.recovery.installation import Installation

USER = {"role": "user", "content": "Why is the sky blue?"}
SAID = {"role": "assistant", "content": "It scatters."}


async def asked(
    api: Api,
    *messages: dict[str, str],
    headers: dict[str, str] | None = None,
    query: str = "",
    **fields: Any,
) -> httpx.Response:
    body = {"messages": messages or [USER], **fields}
    return await api.http.post(f"/chat{query}", json=body, headers=headers)


def data_of(response: httpx.Response) -> list[str]:
    """Return the data of each event of a stream, `[DONE]` or the error at its end."""
    assert response.headers["content-type"] == "text/event-stream"
    return [event.data.decode() for event in SSEDecoder().feed(response.content)]


def text_of(response: httpx.Response) -> str:
    *tokens, done = data_of(response)
    assert done == "[DONE]"
    return "".join(tokens)


# --- a whole answer ---


async def test_the_answer_is_json_with_its_ids_in_the_headers(api: Api) -> None:
    response = await asked(api, conversation_id="chat-json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-conversation-id"] == "chat-json"
    shown = await api.shown(response.headers["x-run-id"])
    assert response.json() == {"response": shown["answer"]}
    assert shown["answer"]


@pytest.mark.parametrize(
    "wish",
    [
        {"stream": True},
        {"query": "?stream=true"},
        {"headers": {"Accept": "text/event-stream"}},
        {"headers": {"Accept": "Text/Event-Stream;q=0.9, */*;q=0.1"}},
        {"headers": {"Accept": "application/json, text/event-stream"}, "stream": False},
    ],
    ids=str,
)
async def test_a_stream_is_asked_for_in_three_ways(api: Api, wish: dict[str, Any]) -> None:
    response = await asked(api, **wish)
    shown = await api.shown(response.headers["x-run-id"])
    assert text_of(response) == shown["answer"]
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    "wish",
    [
        {"stream": False},
        {"query": "?stream=false"},
        {"headers": {"Accept": "*/*"}},
        {"headers": {"Accept": "application/json, text/event-stream;q=0.5"}},
        {"headers": {"Accept": "text/event-stream;q=0"}},
    ],
    ids=str,
)
async def test_anything_else_is_answered_in_json(api: Api, wish: dict[str, Any]) -> None:
    assert (await asked(api, **wish)).json().keys() == {"response"}


async def test_a_stream_is_unnamed_events_without_ids(api: Api) -> None:
    response = await asked(api, stream=True)
    assert response.text.endswith("\n\ndata: [DONE]\n\n")
    assert {line.partition(":")[0] for line in response.text.split("\n") if line} == {"data"}


async def test_text_arrives_while_the_model_is_still_writing(api: Api, upstream: Upstream) -> None:
    body = {"messages": [USER], "ensemble": "endless-answer", "stream": True}
    async with api.http.stream("POST", "/chat", json=body) as response:
        assert (await anext(response.aiter_raw())).startswith(b"data: ")
        assert await upstream.open_streams() >= 1
        await api.http.post(f"/api/runs/{response.headers['x-run-id']}/cancel")


@pytest.mark.parametrize("stream", [True, False])
async def test_characters_and_megabytes_arrive_whole(api: Api, stream: bool) -> None:
    for ensemble, start in (
        ("odd-split_utf8", "Grüße 👋 an alle: naïve Ärzte\u2028sagen"),
        ("huge", TEXT),
    ):
        response = await asked(api, stream=stream, ensemble=ensemble)
        text = text_of(response) if stream else response.json()["response"]
        assert text.startswith(start)
        assert text == (await api.shown(response.headers["x-run-id"]))["answer"]
    assert text == TEXT * CHUNKS


# --- context ---


async def test_without_a_conversation_the_given_messages_are_the_context(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        again = {"role": "user", "content": "And at dusk, as given?"}
        first = await asked(api, USER, SAID, again)
        assert first.status_code == 200
        sent = installation.models.of("at dusk, as given", "one")[0].turns
        assert sent == [(turn["role"], turn["content"]) for turn in (USER, SAID, again)]
        conversation = first.headers["x-conversation-id"]
        shown = (await api.http.get(f"/api/conversations/{conversation}")).json()
        kept = [(each["role"], each["content"]) for each in shown["messages"]]
        assert kept == [*sent, ("assistant", first.json()["response"])]


async def test_with_a_conversation_only_the_last_message_counts(installation: Installation) -> None:
    async with client_of(installation.serve().url) as api:
        first = await asked(api, USER)
        conversation = first.headers["x-conversation-id"]
        question = {"role": "user", "content": "And at dawn, as stored?"}
        other = {"role": "user", "content": "Something else"}
        then = await asked(api, other, SAID, question, conversation_id=conversation)
        assert then.status_code == 200
        assert installation.models.of("at dawn, as stored", "one")[0].turns == [
            ("user", USER["content"]),
            ("assistant", first.json()["response"]),
            ("user", question["content"]),
        ]


async def test_the_given_turns_begin_a_conversation_that_is_not_known(
    installation: Installation,
) -> None:
    async with client_of(installation.serve().url) as api:
        question = {"role": "user", "content": "And at noon, as begun?"}
        await asked(api, USER, SAID, question, conversation_id="mine")
        assert len(installation.models.of("at noon, as begun", "one")[0].turns) == 3
        last = {"role": "user", "content": "And at night, as gone on?"}
        await asked(api, last, conversation_id="mine")
        assert len(installation.models.of("at night, as gone on", "one")[0].turns) == 5


# --- errors ---


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [USER, SAID]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}, USER]}, "messages.0.role"),
        ({"messages": [{"role": "User", "content": "x"}]}, "messages.0.role"),
        ({"messages": [USER, {"role": "user", "content": ""}]}, "messages.1.content"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages.0.name"),
        ({"message": "Hi"}, "message"),
        ({"stream": "true"}, "stream"),
        ({"conversation_id": "a b"}, "conversation_id"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
    ids=str,
)
async def test_a_field_that_does_not_fit_is_named(
    api: Api, fields: dict[str, Any], at: str
) -> None:
    response = await api.http.post("/chat", json={"messages": [USER]} | fields)
    assert response.status_code == 400
    assert response.json()["code"] == "bad_request"
    assert [each["field"] for each in response.json()["details"]] == [at]
    assert "x-run-id" not in response.headers


async def test_no_messages_at_all_is_400(api: Api) -> None:
    response = await api.http.post("/chat", json={})
    assert response.json()["details"] == [
        {"field": "messages", "message": "this field is required"}
    ]


async def test_another_value_of_stream_in_the_query_is_400(api: Api) -> None:
    assert (await asked(api, query="?stream=yes")).status_code == 400


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"ensemble": "nope"}, 400, "unknown_ensemble"),
        ({"ensemble": "both-bad"}, 502, "too_few_answers"),
        ({"ensemble": "hung-for-a-while"}, 504, "run_timeout"),
    ],
)
async def test_a_failure_before_any_text_has_its_status(
    api: Api, fields: dict[str, Any], status: int, code: str, stream: bool
) -> None:
    response = await asked(api, stream=stream, **fields)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["error"].endswith(".")
    assert ("x-run-id" in response.headers) == (status != 400)


async def test_a_failure_midway_is_an_error_event_and_nothing_is_done(api: Api) -> None:
    response = await asked(api, stream=True, ensemble="combiner-cut")
    *tokens, last = data_of(response)
    kept = await api.shown(response.headers["x-run-id"])
    assert json.loads(last) == {"error": kept["message"]}
    assert "".join(tokens) == kept["answer"] != ""
    assert "[DONE]" not in response.text


async def test_a_failure_midway_of_an_answer_in_json_is_its_status_and_the_text_is_kept(
    api: Api,
) -> None:
    response = await asked(api, ensemble="combiner-cut")
    assert response.status_code == 502
    assert response.json()["code"] == "upstream_incomplete"
    assert response.json()["error"].endswith(" The text received until then is stored.")
    assert (await api.shown(response.headers["x-run-id"]))["answer"]


async def test_who_leaves_before_the_json_is_there_does_not_end_the_run(
    api: Api, hasty: Api, upstream: Upstream
) -> None:
    body = {"messages": [USER], "ensemble": "endless", "conversation_id": "left-chat"}
    post = asyncio.create_task(hasty.http.post("/chat", json=body))

    async def newest() -> dict[str, Any]:
        items = (await hasty.http.get("/history?limit=1")).json()["items"]
        return items[0] if items else {"conversation_id": None}

    async def is_stored() -> bool:
        return bool((await newest())["conversation_id"] == "left-chat")

    await until(is_stored)
    post.cancel()
    run = await newest()
    assert run["status"] == "running"
    assert (await hasty.ended(run["id"]))["code"] == "abandoned"
    await until(upstream.quiet)


async def test_a_get_without_an_upgrade_says_what_to_do(api: Api) -> None:
    response = await api.http.get("/chat")
    assert (response.status_code, response.json()["code"]) == (426, "upgrade_required")
    assert response.headers["upgrade"] == "websocket"


async def test_over_http_2_it_says_so_too(service: Any) -> None:
    async with client_of(service.url, http2=True, http1=False) as api:
        response = await api.http.get("/chat")
    assert response.status_code == 426


# --- asked once ---


async def test_the_same_key_gives_the_same_run_streamed_or_not(api: Api) -> None:
    key = {"Idempotency-Key": "chat-once"}
    first = await asked(api, headers=key)
    again = await asked(api, headers=key, stream=True)
    assert again.headers["x-run-id"] == first.headers["x-run-id"]
    assert text_of(again) == first.json()["response"]
    other = await asked(api, SAID, USER, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
