"""The text stream, `POST /stream`: the answer alone, in three formats, over a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests._support.clients.api import Api, until
from tests._support.llm.mock_stats import Upstream
from tests._support.llm.unbounded_server import CHUNKS, TEXT

FORMATS = ("text", "openai", "sse")


async def streamed(
    api: Api,
    form: str = "text",
    prompt: str = "Why is the sky blue?",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    query = {"stream_format": form}
    body = {"prompt": prompt, **fields}
    return await api.http.post("/stream", params=query, json=body, headers=headers)


def chunks_of(response: httpx.Response, form: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a response; require that it has no other frames."""
    if form == "openai":
        lines = response.content.decode().split("\n")
        assert lines.pop() == ""
        return [json.loads(line) for line in lines]
    blocks = response.content.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith(("data: ", ": keep-alive")) for block in blocks)
    said = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
    return [json.loads(each) for each in said if each != "[DONE]"]


def text_of(response: httpx.Response, form: str) -> str:
    if form == "text":
        return response.content.decode()
    chunks = [each for each in chunks_of(response, form) if "choices" in each]
    return "".join(each["choices"][0]["delta"].get("content", "") for each in chunks)


async def item(api: Api, response: httpx.Response) -> dict[str, Any]:
    """Return what history has of a response's run."""
    found: dict[str, Any] = (await api.http.get(f"/history/{response.headers['x-run-id']}")).json()
    return found


# --- a whole answer ---


@pytest.mark.parametrize("form", FORMATS)
async def test_the_text_is_the_runs_answer(api: Api, form: str) -> None:
    response = await streamed(api, form)
    shown = await api.shown(response.headers["x-run-id"])
    assert response.status_code == 200
    assert text_of(response, form) == shown["answer"] != ""


async def test_text_is_the_default(api: Api) -> None:
    response = await api.http.post("/stream", json={"prompt": "Why?"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == (await item(api, response))["response"]


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("text", "text/plain; charset=utf-8"),
        ("openai", "application/x-ndjson"),
        ("sse", "text/event-stream"),
    ],
)
async def test_each_format_has_its_media_type_and_the_headers_of_a_stream(
    api: Api, form: str, kind: str
) -> None:
    headers = (await streamed(api, form, conversation_id=f"text-stream-{form}")).headers
    assert headers["content-type"] == kind
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-run-id"].startswith("run_")
    assert headers["x-conversation-id"] == f"text-stream-{form}"


@pytest.mark.parametrize("form", ["openai", "sse"])
async def test_chunks_are_openais(api: Api, form: str) -> None:
    response = await streamed(api, form)
    chunks = chunks_of(response, form)
    run_id = response.headers["x-run-id"]
    assert {each["id"] for each in chunks} == {f"chatcmpl-{run_id.removeprefix('run_')}"}
    assert {each["object"] for each in chunks} == {"chat.completion.chunk"}
    assert {each["model"] for each in chunks} == {"fanout"}
    assert len({each["created"] for each in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [each["choices"][0]["finish_reason"] for each in chunks[:-1]] == [None] * (
        len(chunks) - 1
    )
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


async def test_events_end_with_done_and_have_neither_ids_nor_names(api: Api) -> None:
    body = (await streamed(api, "sse")).text
    assert body.endswith("\n\ndata: [DONE]\n\n")
    assert body.count("[DONE]") == 1
    assert {line.partition(":")[0] for line in body.split("\n") if line} == {"data"}


@pytest.mark.parametrize("form", ["openai", "sse"])
@pytest.mark.parametrize("ensemble", ["fanout", "solo"])
async def test_an_answer_that_its_limit_cut_says_length(api: Api, form: str, ensemble: str) -> None:
    response = await streamed(api, form, ensemble=ensemble, max_tokens=5)
    assert chunks_of(response, form)[-1]["choices"][0]["finish_reason"] == "length"
    assert len(text_of(response, form).split()) == 5


@pytest.mark.parametrize("form", FORMATS)
async def test_characters_beyond_ascii_arrive_as_they_were(api: Api, form: str) -> None:
    text = text_of(await streamed(api, form, ensemble="odd-split_utf8"), form)
    assert text.startswith("Grüße 👋 an alle: naïve Ärzte\u2028sagen")
    assert "🚀🧑‍🚀" in text


@pytest.mark.parametrize("form", FORMATS)
async def test_a_megabyte_arrives_whole(api: Api, form: str) -> None:
    response = await streamed(api, form, ensemble="huge")
    assert text_of(response, form) == TEXT * CHUNKS


async def test_text_arrives_while_the_model_is_still_writing(api: Api, upstream: Upstream) -> None:
    body = {"prompt": "Why?", "ensemble": "endless-answer"}
    async with api.http.stream("POST", "/stream", json=body) as response:
        first = await anext(response.aiter_raw())
        assert first
        assert await upstream.open_streams() >= 1
        await api.http.post(f"/api/runs/{response.headers['x-run-id']}/cancel")


async def test_a_conversation_is_continued(api: Api) -> None:
    first = await streamed(api, prompt="What is a comet?", ensemble="wordy")
    assert first.status_code == 200
    conversation_id = first.headers["x-conversation-id"]
    then = await streamed(
        api, prompt="And its tail?", ensemble="wordy", conversation_id=conversation_id
    )
    assert "Earlier you asked about “What is a comet?”" in then.text


# --- errors ---


async def test_a_failure_midway_is_a_last_line_of_text(api: Api) -> None:
    response = await streamed(api, ensemble="combiner-cut")
    text, _, last = response.text.partition("\n\n[error: ")
    assert response.status_code == 200
    assert text
    assert last.endswith(".]\n")
    assert last.count("\n") == 1


@pytest.mark.parametrize("form", ["openai", "sse"])
async def test_a_failure_midway_is_an_error_object_and_then_nothing(api: Api, form: str) -> None:
    response = await streamed(api, form, ensemble="combiner-cut")
    *chunks, last = chunks_of(response, form)
    assert response.status_code == 200
    assert last["error"].keys() == {"message", "type", "param", "code"}
    assert last["error"]["code"] == "upstream_incomplete"
    assert {each["choices"][0]["finish_reason"] for each in chunks} == {None}
    assert "[DONE]" not in response.text


async def test_what_came_before_a_failure_is_kept_and_the_row_says_so(api: Api) -> None:
    response = await streamed(api, ensemble="combiner-cut")
    kept = await item(api, response)
    assert kept["status"] == "failed"
    assert kept["code"] == "upstream_incomplete"
    assert kept["error"] in response.text
    assert response.text.startswith(kept["response"] + "\n\n[error: ")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"ensemble": "both-bad"}, 502, "too_few_answers"),
        ({"ensemble": "hung-for-a-while"}, 504, "run_timeout"),
    ],
)
async def test_a_failure_before_any_text_has_its_status(
    api: Api, form: str, fields: dict[str, Any], status: int, code: str
) -> None:
    response = await streamed(api, form, **fields)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    problem = response.json()
    assert problem["code"] == code
    assert problem["error"].endswith(".")
    assert problem["trace_id"] == response.headers["x-trace-id"]
    kept = await item(api, response)
    assert (kept["status"], kept["code"]) == ("failed", code)
    assert kept["conversation_id"] == response.headers["x-conversation-id"]


@pytest.mark.parametrize("form", FORMATS)
async def test_a_stream_opens_although_no_text_comes(hasty: Api, form: str) -> None:
    response = await streamed(hasty, form, ensemble="hung-for-longer")
    assert response.status_code == 200
    sentence = "The run did not finish within 1.6 s."
    if form == "text":
        assert response.text == f"\n\n[error: {sentence}]\n"
        return
    chunks = chunks_of(response, form)
    assert chunks[-1]["error"]["message"] == sentence
    if form == "sse":
        assert ": keep-alive\n\n" in response.text
    else:
        assert {"index": 0, "delta": {}, "finish_reason": None} in [
            each["choices"][0] for each in chunks[:-1]
        ]


@pytest.mark.parametrize("form", ["xml", "", "TEXT", "text,sse"])
async def test_another_format_is_400_and_says_which_there_are(api: Api, form: str) -> None:
    response = await streamed(api, form)
    assert response.status_code == 400
    assert response.json()["details"] == [
        {"field": "stream_format", "message": "must be one of text, openai, sse"}
    ]


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"message": "Hi"}, "message"),
        ({"stream_agents": True}, "stream_agents"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"timeout_s": 1}, "timeout_s"),
        ({"conversation_id": "a b"}, "conversation_id"),
    ],
)
async def test_a_field_that_does_not_fit_is_named(
    api: Api, fields: dict[str, Any], at: str
) -> None:
    response = await api.http.post("/stream", json={"prompt": "Why?"} | fields)
    assert response.status_code == 400
    assert [each["field"] for each in response.json()["details"]] == [at]
    assert "x-run-id" not in response.headers


async def test_an_unknown_ensemble_is_400(api: Api) -> None:
    response = await streamed(api, ensemble="nope")
    assert (response.status_code, response.json()["code"]) == (400, "unknown_ensemble")


# --- asked once ---


async def test_the_same_key_gives_the_same_run_in_any_format(api: Api) -> None:
    key = {"Idempotency-Key": "text-stream-once"}
    first = await streamed(api, "text", headers=key)
    for form in FORMATS:
        again = await streamed(api, form, headers=key)
        assert again.headers["x-run-id"] == first.headers["x-run-id"]
        assert text_of(again, form) == first.text


async def test_the_same_key_joins_a_run_that_is_going_on(api: Api) -> None:
    key = {"Idempotency-Key": "text-stream-joined"}
    one, other = await asyncio.gather(
        streamed(api, headers=key, ensemble="brief"), streamed(api, headers=key, ensemble="brief")
    )
    assert one.headers["x-run-id"] == other.headers["x-run-id"]
    assert one.content == other.content


async def test_the_same_key_with_another_prompt_is_422(api: Api) -> None:
    key = {"Idempotency-Key": "text-stream-other"}
    await streamed(api, prompt="One?", headers=key)
    response = await streamed(api, prompt="Two?", headers=key)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_client_that_leaves_before_the_first_word_does_not_end_the_run(api: Api) -> None:
    before = (await api.http.get("/history?limit=1")).json()["items"][0]["id"]
    prompt = {"prompt": "Left at once", "ensemble": "hung"}
    with pytest.raises(httpx.ReadTimeout):
        await api.http.post("/stream", json=prompt, timeout=0.3)

    async def is_there() -> bool:
        newest = (await api.http.get("/history?limit=1")).json()["items"][0]
        return bool(newest["id"] > before and newest["prompt"] == "Left at once")

    await until(is_there)
    newest = (await api.http.get("/history?limit=1")).json()["items"][0]
    assert newest["status"] == "running"
    await api.http.post(f"/api/runs/{newest['id']}/cancel")
