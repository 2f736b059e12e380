"""Messages beyond their text are read and written in OpenAI's format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain import Message, ToolCall
from service.messages import (
    build_answer,
    drop_unmatched_calls,
    encode_question,
    list_content_parts,
    parse_chat_message,
    replace_content_parts,
    restore_question,
)

QUESTION = Message("user", "Weather?")
NEXT = Message("user", "Thanks.")
TEXT = {"type": "text", "text": "What is this?"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


def _calls(*ids: str, text: str = "") -> Message:
    return build_answer(text, [ToolCall(at, each, "f", "{}") for at, each in enumerate(ids)])


def _result(call_id: str) -> Message:
    return parse_chat_message({"role": "tool", "tool_call_id": call_id, "content": "Rain."})


# --- OpenAI's chat messages ---


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"role": "user", "content": "Hi"}, Message("user", "Hi")),
        ({"role": "developer", "content": "Be brief."}, Message("system", "Be brief.")),
        (
            {"role": "user", "content": [TEXT, {"type": "text", "text": "And that?"}]},
            Message("user", "What is this?\n\nAnd that?"),
        ),
    ],
)
def test_a_message_of_nothing_but_text_has_no_raw_form(
    fields: dict[str, Any], message: Message
) -> None:
    assert parse_chat_message(fields) == message


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"role": "user", "content": [TEXT, IMAGE]}, "What is this?"),
        ({"role": "user", "content": "Hi", "name": "ann"}, "Hi"),
        ({"role": "assistant", "refusal": "I cannot."}, "I cannot."),
        ({"role": "tool", "tool_call_id": "1", "content": "Rain."}, "Rain."),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, ""),
    ],
)
def test_a_message_with_more_than_text_keeps_every_field(fields: dict[str, Any], text: str) -> None:
    message = parse_chat_message(fields)
    assert (message.role, message.content) == (fields["role"], text)
    assert json.loads(message.raw or "") == fields


def test_a_developers_message_with_a_name_is_stored_under_the_role_system() -> None:
    message = parse_chat_message({"role": "developer", "content": "Be brief.", "name": "ann"})
    assert json.loads(message.raw or "")["role"] == "system"


def test_an_answer_without_text_that_calls_tools_has_null_content() -> None:
    answer = json.loads(_calls("1").raw or "")
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": "1", "type": "function", "function": function}]
    assert answer == {"role": "assistant", "content": None, "tool_calls": calls}


# --- stored questions ---


@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
        Message("system", "Be brief."),
        Message("assistant", "I think"),
        _result("1"),
        parse_chat_message({"role": "user", "content": [TEXT, IMAGE]}),
    ],
)
def test_a_stored_question_comes_back_with_its_role_and_content(question: Message) -> None:
    restored = restore_question(question.content, encode_question(question))
    assert (restored.role, restored.content) == (question.role, question.content)
    assert list_content_parts(restored) == list_content_parts(question)


def test_a_users_plain_question_is_stored_as_text_alone() -> None:
    assert encode_question(QUESTION) is None


# --- content parts ---


def test_text_alone_has_no_parts() -> None:
    assert list_content_parts(QUESTION) == []


def test_replaced_parts_leave_the_other_fields_as_they_are() -> None:
    fields = {"role": "user", "content": [TEXT, IMAGE], "name": "ann"}
    replaced = replace_content_parts(parse_chat_message(fields), [TEXT])
    assert json.loads(replaced.raw or "") == {**fields, "content": [TEXT]}
    assert replaced.content == "What is this?"


# --- tool calls and their results ---


@pytest.mark.parametrize(
    "messages",
    [
        [QUESTION],
        [QUESTION, _calls("1", "2"), _result("1"), _result("2"), NEXT],
        [QUESTION, _calls("1"), _result("1"), _calls("1"), _result("1")],
    ],
)
def test_calls_with_their_results_stay_as_they_are(messages: list[Message]) -> None:
    assert drop_unmatched_calls(messages, messages) == messages


def test_results_are_put_into_the_order_of_their_calls() -> None:
    messages = [QUESTION, _calls("1", "2"), _result("2"), _result("1"), NEXT]
    in_order = [QUESTION, _calls("1", "2"), _result("1"), _result("2"), NEXT]
    assert drop_unmatched_calls(messages, messages) == in_order


def test_an_earlier_call_without_a_result_is_dropped() -> None:
    assert drop_unmatched_calls([QUESTION, _calls("1"), NEXT], [NEXT]) == [QUESTION, NEXT]


def test_the_text_beside_a_dropped_call_stays() -> None:
    messages = [QUESTION, _calls("1", text="Let me look."), NEXT]
    text = Message("assistant", "Let me look.")
    assert drop_unmatched_calls(messages, [NEXT]) == [QUESTION, text, NEXT]


def test_of_several_calls_those_with_a_result_stay() -> None:
    messages = [QUESTION, _calls("1", "2"), _result("2"), NEXT]
    (_, call, *rest) = drop_unmatched_calls(messages, [NEXT])
    assert [each["id"] for each in json.loads(call.raw or "")["tool_calls"]] == ["2"]
    assert rest == [_result("2"), NEXT]


@pytest.mark.parametrize("earlier", [[], [_calls("2")]])
def test_an_earlier_result_without_its_call_is_dropped(earlier: list[Message]) -> None:
    assert drop_unmatched_calls([*earlier, _result("1"), QUESTION], [QUESTION]) == [QUESTION]


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([QUESTION, _result("1")], "must answer a call"),
        ([QUESTION, _calls("2"), _result("1")], "2 has no result"),
        ([QUESTION, _calls("1"), _result("1"), _result("1")], "must answer a call"),
        ([QUESTION, _calls("1")], "1 has no result"),
        ([QUESTION, _calls("1"), NEXT], "1 has no result"),
        ([QUESTION, _calls("1", "2"), _result("1"), NEXT], "2 has no result"),
        ([QUESTION, _calls("1"), NEXT, _result("1")], "1 has no result"),
    ],
)
def test_an_unmatched_call_or_result_of_the_present_request_is_refused(
    messages: list[Message], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        drop_unmatched_calls(messages, messages)
