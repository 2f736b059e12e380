"""The sessions API, `POST /conversation`: named events or one JSON object, over a real socket."""

from __future__ import annotations

import asyncio
import signal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests._support.clients.api import Api, client_of, until
from tests._support.clients.named_events import Named, following, named_events, names, text_of
from tests._support.llm.mock_stats import Upstream
from tests._support.llm.unbounded_server import CHUNKS, TEXT
from tests._support.servers.services import Start

PATH = "/conversation"


async def told(api: Api, message: str = "Why is the sky blue?", **fields: Any) -> httpx.Response:
    return await api.http.post(PATH, json={"message": message, **fields})


async def answered(api: Api, message: str, **fields: Any) -> dict[str, Any]:
    """Ask without a stream; returns the JSON."""
    response = await told(api, message, stream=False, **fields)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


# --- a whole answer ---


async def test_a_stream_is_session_then_messages_then_done(api: Api) -> None:
    response = await told(api, user_id="user_1")
    events = named_events(response.content)
    assert names(events) == ["session", "message", "done"]
    session_id = response.headers["x-conversation-id"]
    ids = {"session_id": session_id, "thread_id": session_id}
    assert events[0].data == {**ids, "user_id": "user_1"}
    assert all(event.data.keys() == {"chunk"} for event in events[1:-1])
    assert events[-1].data == {**ids, "full_response": text_of(events)}
    shown = await api.shown(response.headers["x-run-id"])
    assert text_of(events) == shown["answer"] != ""


async def test_a_stream_has_the_headers_of_one(api: Api) -> None:
    headers = (await told(api)).headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-run-id"].startswith("run_")


async def test_without_a_stream_the_answer_is_one_object(api: Api) -> None:
    response = await told(api, "What is a tide?", stream=False, user_id="user_1")
    session_id = response.headers["x-conversation-id"]
    shown = await api.shown(response.headers["x-run-id"])
    assert response.json() == {
        "session_id": session_id,
        "thread_id": session_id,
        "user_id": "user_1",
        "message": "What is a tide?",
        "response": shown["answer"],
    }
    assert list(response.json()) == ["session_id", "thread_id", "user_id", "message", "response"]


@pytest.mark.parametrize("ensemble", ["odd-split_utf8", "huge"])
async def test_a_text_is_the_same_in_every_form(api: Api, ensemble: str) -> None:
    events = named_events((await told(api, ensemble=ensemble)).content)
    text = text_of(events)
    assert events[-1].data["full_response"] == text
    assert (await answered(api, "Why?", ensemble=ensemble))["response"] == text
    if ensemble == "huge":
        assert text == TEXT * CHUNKS
    else:
        assert "Grüße 👋 an alle: naïve Ärzte\u2028sagen" in text


async def test_a_session_that_is_not_named_is_called_after_its_question(api: Api) -> None:
    one = await answered(api, "What is a comet?\nIn short.")
    other = await answered(api, "What is a tide?", session_name="The sea")
    titles = []
    for each in (one, other):
        found = await api.http.get(f"{PATH}/session/{each['session_id']}")
        titles.append(found.json()["session_name"])
    assert titles == ["What is a comet?", "The sea"]


async def test_a_session_goes_on(api: Api) -> None:
    first = await answered(api, "What is a comet?", ensemble="wordy", session_name="Comets")
    then = await answered(
        api,
        "And its tail?",
        ensemble="wordy",
        session_id=first["session_id"],
        session_name="Ignored",
    )
    assert then["session_id"] == first["session_id"]
    assert "Earlier you asked about “What is a comet?”" in then["response"]
    shown = await api.http.get(f"{PATH}/session/{first['session_id']}")
    assert shown.json()["session_name"] == "Comets"


async def test_an_empty_session_is_gone_on_with(api: Api) -> None:
    made = (await api.http.post(f"{PATH}/session", json={"user_id": "user_1"})).json()
    events = named_events((await told(api, "A comet?", session_id=made["session_id"])).content)
    assert events[0].data["session_id"] == made["session_id"]
    assert events[0].data["user_id"] == "user_1"
    shown = (await api.http.get(f"{PATH}/session/{made['session_id']}")).json()
    assert shown["session_name"] == "A comet?"


async def test_two_questions_at_once_in_one_session_are_both_answered_and_kept(api: Api) -> None:
    session_id = (await answered(api, "What is a tide?"))["session_id"]
    both = await asyncio.gather(
        answered(api, "Who makes it?", session_id=session_id),
        answered(api, "And when?", session_id=session_id),
    )
    history = (await api.http.get(f"{PATH}/session/{session_id}/history")).json()
    said = [message["content"] for message in history["messages"]]
    assert len(said) == 6
    for each in both:
        assert said[said.index(each["message"]) + 1] == each["response"]


async def test_the_stream_opens_before_there_is_any_text(hasty: Api) -> None:
    body = {"message": "Why?", "ensemble": "hung"}
    async with hasty.http.stream("POST", PATH, json=body) as response:
        assert response.status_code == 200
        seen = b""
        async for block in response.aiter_raw():
            seen += block
            if b": keep-alive\n\n" in seen:
                break
        assert seen.startswith(b"event: session\n")


# --- sessions of other users ---


async def test_another_users_session_looks_as_if_there_were_none(api: Api) -> None:
    session_id = (await answered(api, "What is a tide?", user_id="user_1"))["session_id"]
    nobodys = await told(api, session_id="conv_nobody", user_id="user_2")
    theirs = await told(api, session_id=session_id, user_id="user_2")
    for response in (nobodys, theirs):
        assert response.status_code == 404
        assert response.json()["code"] == "conversation_not_found"
        assert response.headers["content-type"] == "application/json"
    assert nobodys.json()["error"] == theirs.json()["error"]
    for user in ({}, {"user_id": "user_1"}):
        assert (await answered(api, "And?", session_id=session_id, **user))["user_id"] == "user_1"


async def test_a_conversation_of_nobody_belongs_to_every_user(api: Api) -> None:
    session_id = (await answered(api, "What is a tide?"))["session_id"]
    for user_id in ("user_1", "user_2"):
        found = await answered(api, "And?", session_id=session_id, user_id=user_id)
        assert found["user_id"] == user_id
    assert (await answered(api, "And?", session_id=session_id))["user_id"] == "anonymous"


# --- the same question twice ---


@pytest.mark.parametrize("stream", [True, False])
async def test_a_key_joins_the_run_that_began_the_session(api: Api, stream: bool) -> None:
    body = {"message": "Why?", "stream": stream}
    headers = {"Idempotency-Key": uuid4().hex}
    first, second = [await api.http.post(PATH, json=body, headers=headers) for _ in range(2)]
    assert second.headers["x-run-id"] == first.headers["x-run-id"]
    if stream:
        one, other = named_events(first.content), named_events(second.content)
        assert (one[0], one[-1], text_of(one)) == (other[0], other[-1], text_of(other))
    else:
        assert first.json() == second.json()


async def test_a_key_with_another_body_is_422(api: Api) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    await api.http.post(PATH, json={"message": "Why?"}, headers=headers)
    response = await api.http.post(PATH, json={"message": "How?"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")


# --- errors ---


async def test_a_failure_midway_is_an_error_event_and_then_nothing(api: Api) -> None:
    response = await told(api, ensemble="combiner-cut")
    events = named_events(response.content)
    assert names(events) == ["session", "message", "error"]
    error = events[-1].data
    assert error.keys() == {"error", "code"}
    assert error["error"].endswith(".")
    assert error["code"] == "upstream_incomplete"
    kept = (await api.http.get(f"/history/{response.headers['x-run-id']}")).json()
    assert (kept["status"], kept["response"]) == ("failed", text_of(events))


async def test_a_failure_before_any_text_is_an_error_event_too(api: Api) -> None:
    response = await told(api, ensemble="both-bad")
    assert response.status_code == 200
    events = named_events(response.content)
    assert names(events) == ["session", "error"]
    assert events[-1].data["code"] == "too_few_answers"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"ensemble": "both-bad"}, 502, "too_few_answers"),
        ({"ensemble": "combiner-cut"}, 502, "upstream_incomplete"),
        ({"ensemble": "hung-for-a-while"}, 504, "run_timeout"),
    ],
)
async def test_without_a_stream_a_failure_has_its_status(
    api: Api, fields: dict[str, Any], status: int, code: str
) -> None:
    response = await told(api, stream=False, **fields)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["error"].endswith(".")
    assert response.headers["x-run-id"].startswith("run_")


async def test_a_client_that_leaves_ends_its_calls_after_the_grace(
    hasty: Api, upstream: Upstream
) -> None:
    body = {"message": "Why?", "ensemble": "endless-answer"}
    async with hasty.http.stream("POST", PATH, json=body) as response:
        run_id = response.headers["x-run-id"]
        async for event in following(response):
            if event.name == "message":
                break
    assert (await hasty.ended(run_id))["code"] == "abandoned"
    await until(upstream.quiet)


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"message": ""}, "message"),
        ({"message": " \n"}, "message"),
        ({"message": "a\0b"}, "message"),
        ({"message": None}, "message"),
        ({"message": 7}, "message"),
        ({"prompt": "Hi"}, "prompt"),
        ({"session_id": "a b"}, "session_id"),
        ({"session_id": ""}, "session_id"),
        ({"session_id": 7}, "session_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "a\0b"}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"session_name": " "}, "session_name"),
        ({"session_name": "a\0b"}, "session_name"),
        ({"session_name": "x" * 201}, "session_name"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"timeout_s": 1}, "timeout_s"),
        ({"thread_id": "conv_1"}, "thread_id"),
    ],
)
async def test_a_field_that_does_not_fit_is_400_and_named(
    api: Api, fields: dict[str, Any], at: str
) -> None:
    response = await api.http.post(PATH, json={"message": "Hi", **fields})
    assert response.status_code == 400, response.text
    assert response.json()["details"][0]["field"] == at


async def test_no_message_is_400_and_an_unknown_ensemble_too(api: Api) -> None:
    assert (await api.http.post(PATH, json={})).status_code == 400
    response = await told(api, ensemble="nobody")
    assert (response.status_code, response.json()["code"]) == (400, "unknown_ensemble")


@pytest.mark.parametrize("field", ["session_id", "user_id", "session_name"])
async def test_null_is_the_same_as_nothing(api: Api, field: str) -> None:
    body = {"message": "Why?", "stream": False, field: None}
    assert (await api.http.post(PATH, json=body)).status_code == 200


async def test_a_name_or_a_user_cannot_forge_an_event(api: Api) -> None:
    user_id = "me\n\nevent: done\ndata: {}\n\n\u2028"
    response = await told(api, user_id=user_id, session_name="a\r\n\r\nevent: error\n\n")
    events = named_events(response.content)
    assert names(events) == ["session", "message", "done"]
    assert events[0].data["user_id"] == user_id


async def test_a_service_that_is_told_to_stop_says_so(start: Start) -> None:
    process = start(DRAIN_S="0.5")
    body = {"message": "Why?", "ensemble": "endless-answer"}
    async with (
        client_of(process.url) as api,
        api.http.stream("POST", PATH, json=body) as response,
    ):
        events: list[Named] = []
        async for event in following(response):
            if not any(each.name == "message" for each in events) and event.name == "message":
                process.signal(signal.SIGTERM)
            events.append(event)
        assert names(events) == ["session", "message", "error"]
        assert events[-1].data["code"] == "shutting_down"
