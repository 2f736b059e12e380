"""Request bodies of `/v1/responses` become run requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.access.principal import ANONYMOUS
from service.api.http.body import parse_body
from service.api.openai.responses.request import ResponseRequest
from service.conversation import Given
from service.domain import Message, RunRequest
from service.errors import RequestError

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
CALLED = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "5"}
HI = {"role": "user", "content": "Hi"}


def make_request(**fields: Any) -> RunRequest:
    body = {"model": "fanout", "input": "Why?", **fields}
    parsed = parse_body(ResponseRequest, json.dumps(body))
    return parsed.to_request(ANONYMOUS, Given(), parsed.turns)


def parse_items(*items: Any) -> list[Any]:
    """Return the turns that items of input are, whole ones as objects."""
    turns = make_request(input=list(items)).messages
    return [json.loads(each.raw) if each.raw else (each.role, each.content) for each in turns]


def test_a_text_input_is_a_question_of_the_user() -> None:
    request = make_request()
    assert request.messages == (Message("user", "Why?"),)
    assert request.ensemble == "fanout"


def test_the_type_of_a_message_item_is_optional() -> None:
    earlier = {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Yes?", "annotations": [], "logprobs": []}],
    }
    assert parse_items({"role": "developer", "content": "Be brief."}, HI, earlier, HI) == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Yes?"),
        ("user", "Hi"),
    ]


def test_null_fields_that_an_sdk_sends_back_are_ignored() -> None:
    part: dict[str, Any] = {"type": "output_text", "text": "Yes?", "parsed": None}
    earlier = {"type": "message", "role": "assistant", "content": [part], "caller": None}
    call = {**CALLED, "namespace": None, "status": None}
    plain = [HI, {"role": "assistant", "content": "Yes?"}, CALLED, RESULT]
    assert parse_items(HI, earlier, call, {**RESULT, "caller": None}) == parse_items(*plain)


def test_content_parts_are_converted_to_those_of_chat_completions() -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_file", "file_data": "AA==", "filename": "a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    (turn,) = parse_items({"role": "user", "content": parts})
    image = {"url": "data:image/png;base64,AA==", "detail": "low"}
    assert turn["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": image},
        {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]


def test_all_calls_of_an_answer_are_one_message_before_their_results() -> None:
    second = {**CALLED, "call_id": "c2"}
    texts = [{"type": "input_text", "text": "6"}, {"type": "input_text", "text": "7"}]
    results = [RESULT, {**RESULT, "call_id": "c2", "output": texts}]
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    _, called, first_result, second_result = parse_items(HI, thought, CALLED, second, *results)
    assert [each["id"] for each in called["tool_calls"]] == ["c1", "c2"]
    assert called["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert first_result == {"role": "tool", "tool_call_id": "c1", "content": "5"}
    assert second_result["content"] == "67"


def test_parameters_for_models_have_their_names_in_chat_completions() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    options = make_request(
        temperature=0.5,
        tools=[TOOL],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": schema, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
    ).options.parameters
    function = {key: each for key, each in TOOL.items() if key != "type"}
    assert options == {
        "temperature": 0.5,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "verbosity": "low",
        "reasoning_effort": "high",
    }


def test_neutral_values_are_not_passed_on() -> None:
    neutral = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "store": False}
    text = {"format": {"type": "text"}}
    assert make_request(**neutral, text=text, include=[], top_logprobs=0).options.parameters == {}


@pytest.mark.parametrize("conversation", ["conv-1", {"id": "conv-1"}])
def test_a_conversation_is_named_by_its_id_or_as_an_object(conversation: Any) -> None:
    body = {"model": "fanout", "input": "Why?", "conversation": conversation}
    assert parse_body(ResponseRequest, json.dumps(body)).conversation_id == "conv-1"


def test_instructions_and_background_are_options_of_the_request() -> None:
    request = make_request(instructions="Be brief.", background=True, max_output_tokens=5)
    assert request.options.instructions == "Be brief."
    assert request.options.background
    assert request.max_tokens == 5
    assert request.options.echo == {"max_output_tokens": 5}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"include": ["file_search_call.results"]}, "include.0"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, ""),
        ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice.type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input.0"),
        ({"input": [{"type": "reasoning"}]}, ""),
        ({"input": [{"role": "user", "content": " "}]}, ""),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input.0.content.0"),
        ({"input": [{**HI, "content": [{"type": "input_image", "file_id": "f"}]}]}, "input.0"),
        ({"stream_options": {"include_obfuscation": True}}, ""),
        ({"conversation": "c", "previous_response_id": "resp_1"}, ""),
        ({"conversation": "no spaces"}, "conversation"),
    ],
)
def test_an_unsupported_field_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refused:
        make_request(**fields)
    assert refused.value.code == "bad_request"
    assert refused.value.details[0].field.startswith(param)
