"""The request of the chat protocol."""

from __future__ import annotations

import json
from typing import Any

from service.domain import Message
from tests._support.llm.scripted import a_call


def _body(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(a_call("gpt-4o", **changes).body())
    return body


def test_options_of_the_caller_override_those_of_the_agent() -> None:
    body = _body(
        temperature=0.9, extra_body={"seed": 1, "top_k": 5}, options={"temperature": 0, "seed": 2}
    )
    assert (body["temperature"], body["seed"], body["top_k"]) == (0, 2, 5)


def test_a_message_with_more_than_text_is_sent_unchanged() -> None:
    message = {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}
    assert _body(messages=[Message("tool", "Rain", json.dumps(message))])["messages"] == [message]


def test_a_request_contains_the_messages_in_order() -> None:
    messages = [Message("system", "Be brief."), Message("user", "Hi")]
    assert _body(messages=messages)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_a_streamed_request_asks_for_the_usage() -> None:
    assert _body()["stream_options"] == {"include_usage": True}


def test_a_request_without_streaming_has_no_stream_options() -> None:
    body = _body(stream=False)
    assert body["stream"] is False
    assert "stream_options" not in body


def test_openai_receives_the_limit_as_max_completion_tokens() -> None:
    body = _body(provider="openai", max_tokens=7)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def test_other_servers_receive_the_limit_as_max_tokens() -> None:
    assert _body(provider="groq", max_tokens=7)["max_tokens"] == 7


def test_settings_without_a_value_are_not_sent() -> None:
    assert not {"temperature", "top_p"} & set(_body())


def test_a_temperature_of_zero_is_sent() -> None:
    assert _body(temperature=0.0)["temperature"] == 0


def test_extra_fields_are_sent_and_override_others() -> None:
    body = _body(extra_body={"reasoning_effort": "low", "max_tokens": 5})
    assert (body["reasoning_effort"], body["max_tokens"]) == ("low", 5)
