"""One system message, the first; other orders and roles only after a refusal."""

from __future__ import annotations

import json

import pytest

from service.domain import Message
from service.llm.requests.message_order import (
    alternate_roles,
    fold_system_message,
    join_system_messages,
)
from service.messages import encode_chat_message, parse_chat_message

SYSTEM, USER, ASSISTANT = Message("system", "S"), Message("user", "U"), Message("assistant", "A")
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
WITH_PICTURE = parse_chat_message(
    {"role": "user", "content": [{"type": "text", "text": "P"}, PICTURE]}
)
CALL = parse_chat_message({"role": "assistant", "tool_calls": [{"id": "1", "function": {}}]})
RESULT = parse_chat_message({"role": "tool", "tool_call_id": "1", "content": "R"})


def _short(messages: object) -> list[tuple[str, str]]:
    assert isinstance(messages, list | tuple)
    return [(each.role, each.content) for each in messages]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([USER], [USER]),
        ([SYSTEM, USER], [SYSTEM, USER]),
        ([USER, SYSTEM], [SYSTEM, USER]),
        ([SYSTEM, USER, Message("system", "T"), ASSISTANT, USER],
         [Message("system", "S\n\nT"), USER, ASSISTANT, USER]),
        ([SYSTEM, SYSTEM, USER], [SYSTEM, USER]),
        ([Message("system", " "), Message("system", "T"), USER], [Message("system", "T"), USER]),
        ([Message("system", "S", '{"role": "system", "content": "S", "name": "n"}'), USER],
         [SYSTEM, USER]),
    ],
)  # fmt: skip
def test_all_system_messages_become_one_at_the_start(
    given: list[Message], expected: list[Message]
) -> None:
    assert list(join_system_messages(given)) == expected


def test_a_folded_system_message_starts_the_first_question() -> None:
    assert _short(fold_system_message([SYSTEM, USER, ASSISTANT])) == [
        ("user", "S\n\nU"),
        ("assistant", "A"),
    ]


def test_a_folded_system_message_is_a_turn_if_the_assistant_speaks_first() -> None:
    assert _short(fold_system_message([SYSTEM, ASSISTANT, USER]))[0] == ("user", "S")


def test_a_folded_system_message_precedes_the_parts_of_a_question() -> None:
    (message,) = fold_system_message([SYSTEM, WITH_PICTURE])
    content = json.loads(message.raw or "")["content"]
    assert [part.get("text") for part in content] == ["S", "P", None]
    assert content[2] == PICTURE


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([SYSTEM, USER, USER, ASSISTANT, ASSISTANT, USER],
         [("system", "S"), ("user", "U\n\nU"), ("assistant", "A\n\nA"), ("user", "U")]),
        ([USER, CALL, RESULT, RESULT, USER],
         [("user", "U"), ("assistant", ""), ("tool", "R"), ("tool", "R"), ("user", "U")]),
        ([CALL, ASSISTANT],
         [("user", "(The conversation starts with the assistant.)"), ("assistant", ""),
          ("assistant", "A")]),
    ],
)  # fmt: skip
def test_consecutive_messages_of_a_role_are_joined(
    given: list[Message], expected: list[tuple[str, str]]
) -> None:
    assert _short(alternate_roles(given)) == expected


def test_a_conversation_of_turns_is_not_changed() -> None:
    turns = [SYSTEM, USER, ASSISTANT, USER]
    assert alternate_roles(turns) == turns


# --- fields without content ---


@pytest.mark.parametrize("empty", [None, []])
@pytest.mark.parametrize("name", ["tool_calls", "function_call", "audio", "refusal", "name"])
def test_a_field_without_content_is_left_out(name: str, empty: object) -> None:
    fields = {"role": "assistant", "content": "Hi", name: empty}
    assert parse_chat_message(fields) == Message("assistant", "Hi")
    stored = Message("assistant", "Hi", json.dumps(fields))  # by an earlier version
    assert encode_chat_message(stored) == {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize("empty", [None, []])
def test_content_is_null_only_beside_tool_calls(empty: object) -> None:
    calls = [{"id": "1", "function": {}}]
    with_calls = {"role": "assistant", "content": empty, "tool_calls": calls}
    assert encode_chat_message(parse_chat_message(with_calls))["content"] is None
    assert parse_chat_message({"role": "assistant", "content": empty}) == Message("assistant", "")
