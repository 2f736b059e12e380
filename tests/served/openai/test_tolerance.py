"""OpenAI-like clients send fields that request nothing; what could change the answer is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests._support.clients.api import Api, client_of
from tests._support.clients.openai_requests import make_question, parse_error, user
from tests._support.recovery.installation import Installation
from tests._support.servers.services import Start

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
PHOTO_BYTES = 3 * 1024 * 1024
PHOTO = "data:image/jpeg;base64," + base64.b64encode(bytes(PHOTO_BYTES)).decode()

ECHOES: list[dict[str, Any]] = [
    {"reasoning_content": "hm"},
    {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    {"thinking": "hm", "thinking_blocks": [{"type": "thinking"}], "signature": "x"},
    {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": []},
    {"tool_calls": None, "name": None, "tool_call_id": None, "refusal": ""},
    {"provider_specific_fields": {"a": 1}, "id": "msg_1", "response_metadata": {}},
    {"additional_kwargs": {}, "usage_metadata": {"total_tokens": 3}, "model": "x"},
    {"images": [], "function_calls": None, "anything_unknown": None},
    {"cot": "hm", "reasoning_summary": "hm", "thought_process": "hm", "reasoningContent": {}},
    {"citations": ["x"], "search_results": [{"url": "x"}], "executed_tools": [{}], "done": True},
    {"context": {"citations": []}, "sources": ["x"], "info": {"total": 3}, "token_ids": [1]},
    {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Blue."}]},
]


async def test_an_answer_without_text_can_be_sent_back(api: Api) -> None:
    answer = {"role": "assistant", "content": None, "reasoning_content": "hm"}
    body = {"model": "solo", "messages": [user("Which?"), answer, user("And now?")]}
    response = await api.http.post(CHAT, json=body)
    assert response.status_code == 200, response.text


async def test_an_answer_of_another_server_can_be_sent_back(on_postgres: Installation) -> None:
    async with client_of(on_postgres.serve().url) as api:
        for echo in ECHOES:
            question = make_question()
            answer = {"role": "assistant", "content": "Blue.", **echo}
            messages = [user("Which colour?"), answer, user(question)]
            body = {"model": "agent/one", "messages": messages}
            response = await api.http.post(CHAT, json=body)
            assert response.status_code == 200, response.text
            (asked,) = on_postgres.models.of(question)
            assert asked.messages[1].keys() == {"role", "content"}
            assert "hm" not in json.dumps(asked.messages)
            assert "Blue." in json.dumps(asked.messages[1])


@pytest.mark.parametrize("echo", ECHOES[:-1], ids=str)
async def test_the_same_holds_for_items_of_responses(api: Api, echo: dict[str, Any]) -> None:
    answer = {"role": "assistant", "content": "Blue.", **echo}
    items = [user("Which colour?"), answer, user("Sure?")]
    response = await api.http.post(RESPONSES, json={"model": "solo", "input": items})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("path", "question"),
    [(CHAT, {"messages": [user()]}), (RESPONSES, {"input": "Why is the sky blue?"})],
)
async def test_empty_fields_request_nothing(api: Api, path: str, question: dict[str, Any]) -> None:
    empty: dict[str, Any] = {
        "functions": None,
        "function_call": None,
        "audio": None,
        "web_search_options": {},
        "guided_json": [],
        "prompt": None,
        "unheard_of": "",
        "stream_options": {},
        "session_id": "s1",
    }
    response = await api.http.post(path, json={"model": "solo", **question, **empty})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("value", [1, 0.5, True, False, "x", ["x"], {"a": None}], ids=str)
@pytest.mark.parametrize(
    ("path", "question"),
    [(CHAT, {"messages": [user()]}), (RESPONSES, {"input": "Why is the sky blue?"})],
)
async def test_an_unknown_field_with_a_value_is_refused_by_name(
    api: Api, path: str, question: dict[str, Any], value: object
) -> None:
    response = await api.http.post(path, json={"model": "solo", **question, "top_k": value})
    assert response.status_code == 400
    assert parse_error(response)["param"] == "top_k"


async def test_labels_of_the_client_may_have_any_type(api: Api) -> None:
    labels = {"user": 5, "metadata": {"a": {"b": 1}}, "store": "yes", "prompt_cache_key": ["x"]}
    body = {"model": "solo", "messages": [user()], **labels}
    response = await api.http.post(CHAT, json=body)
    assert response.status_code == 200, response.text


# --- the size of images ---


def _ask_about(photo: str) -> list[tuple[str, dict[str, Any]]]:
    image = [{"type": "image_url", "image_url": {"url": photo}}]
    item = [{"type": "input_image", "image_url": photo}]
    return [
        (CHAT, {"model": "solo", "messages": [user(image)]}),
        (RESPONSES, {"model": "solo", "input": [user(item)]}),
    ]


async def test_the_photo_of_a_phone_fits_where_images_are_accepted(api: Api) -> None:
    for path, body in _ask_about(PHOTO):
        response = await api.http.post(path, json=body)
        assert response.status_code == 200, response.text[:300]


async def test_a_text_of_that_size_fits_nowhere(api: Api) -> None:
    for path, body in [
        (CHAT, {"model": "solo", "messages": [user(PHOTO)]}),
        (CHAT, {"model": "solo", "messages": [user([{"type": "text", "text": PHOTO}])]}),
        (RESPONSES, {"model": "solo", "input": PHOTO}),
        ("/chat", {"messages": [user(PHOTO)]}),
        ("/stream", {"prompt": PHOTO}),
        ("/api/process", {"message": PHOTO, "message_id": "1"}),
        ("/conversation", {"message": PHOTO}),
    ]:
        response = await api.http.post(path, json=body)
        assert response.status_code == 413, path
        assert "body_too_large" in response.text


async def test_the_limit_of_images_is_a_setting(start: Start) -> None:
    async with client_of(start(MAX_MEDIA_BODY_BYTES="1000000").url) as api:
        for path, body in _ask_about(PHOTO):
            assert (await api.http.post(path, json=body)).status_code == 413
        for path, body in _ask_about(PHOTO[:900_000]):
            assert (await api.http.post(path, json=body)).status_code == 200
