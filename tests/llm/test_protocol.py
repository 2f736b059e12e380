"""The request of the chat protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain import Message
from service.llm.requests.rules import RequestRules
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


def test_the_rules_name_the_field_of_the_limit() -> None:
    body = _body(rules=RequestRules("max_completion_tokens"), max_tokens=7)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


def test_by_default_the_limit_is_max_tokens() -> None:
    assert _body(max_tokens=7)["max_tokens"] == 7


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_in_extra_fields_replaces_the_usual_one(name: str) -> None:
    body = _body(extra_body={name: 5}, max_tokens=7)
    assert {"max_tokens", "max_completion_tokens"} & body.keys() == {name}
    assert body[name] == 5


def test_a_refused_limit_has_its_other_name() -> None:
    rules = RequestRules("max_completion_tokens", frozenset({"max_tokens"}))
    assert _body(rules=rules, extra_body={"max_tokens": 5})["max_completion_tokens"] == 5


def test_refused_parameters_are_left_out_of_every_origin() -> None:
    rules = RequestRules(left_out=frozenset({"temperature", "seed", "top_k", "stream_options"}))
    call = a_call(
        temperature=0.5, extra_body={"top_k": 3}, options={"seed": 1, "stop": "x"}, rules=rules
    )
    assert {"temperature", "seed", "top_k", "stream_options"}.isdisjoint(json.loads(call.body()))
    assert set(call.left_out) == {"temperature", "seed", "top_k"}


def test_a_default_value_that_is_left_out_is_not_reported() -> None:
    rules = RequestRules(left_out=frozenset({"temperature"}))
    assert a_call(temperature=1.0, rules=rules).left_out == ()


def test_settings_without_a_value_are_not_sent() -> None:
    assert not {"temperature", "top_p"} & set(_body())


def test_a_temperature_of_zero_is_sent() -> None:
    assert _body(temperature=0.0)["temperature"] == 0


def test_extra_fields_are_sent_and_override_others() -> None:
    body = _body(extra_body={"reasoning_effort": "low", "max_tokens": 5})
    assert (body["reasoning_effort"], body["max_tokens"]) == ("low", 5)
